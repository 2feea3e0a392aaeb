"""What a training changes, and a checkpoint holds so that it resumes exactly."""

from dataclasses import dataclass

from torch import Tensor

from sslmlflow.methods import Method
from sslmlflow.methods.renamed import todays
from sslmlflow.training.optimisers import Optimiser

EARLIER = {"main": "sgd"}  # an optimiser's name in the checkpoints of earlier builds


@dataclass
class State:
    """What a training changes: the method, its optimisers by name, and the steps taken."""

    method: Method
    optimisers: dict[str, Optimiser]
    step: int = 0

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name: the method's state and that of the optimisers, by parameter."""
        tensors = {f"method.{name}": tensor for name, tensor in self.method.state_dict().items()}
        for name, optimiser in self.optimisers.items():
            tensors |= {f"{name}.{path}": tensor for path, tensor in optimiser.tensors().items()}
        return tensors

    def restore(self, step: int, tensors: dict[str, Tensor]) -> None:
        """Take back what `tensors` gave, or that of an earlier build."""
        self.method.load_state_dict({todays(name): tensor for name, tensor in _below("method", tensors).items()})
        for name, optimiser in self.optimisers.items():
            optimiser.restore(_below(name, tensors) or _below(EARLIER.get(name, name), tensors))
        self.step = step


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(f"{prefix}."): t for name, t in tensors.items() if name.startswith(f"{prefix}.")}
