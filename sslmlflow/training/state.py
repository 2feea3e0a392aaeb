"""What a training changes, and a checkpoint holds so that it resumes exactly."""

from dataclasses import dataclass

import torch
from torch import Tensor

from sslmlflow.methods import Method


@dataclass
class State:
    """What a training changes, and a checkpoint holds: the method, its optimisers by name, and the steps taken."""

    method: Method
    optimisers: dict[str, torch.optim.Optimizer]
    step: int = 0

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name: the method's state and that of the optimisers, by parameter."""
        tensors = {f"method.{name}": tensor for name, tensor in self.method.state_dict().items()}
        for name, optimiser in self.optimisers.items():
            for index, state in optimiser.state_dict()["state"].items():
                tensors |= {f"{name}.{index}.{key}": value for key, value in state.items()}
        return tensors

    def restore(self, step: int, tensors: dict[str, Tensor]) -> None:
        """Take back what `tensors` gave."""
        self.method.load_state_dict(_below("method", tensors))
        for name, optimiser in self.optimisers.items():
            parameters = optimiser.param_groups[0]["params"]
            state: dict[int, dict[str, Tensor]] = {}
            for path, tensor in _below(name, tensors).items():
                index, key = path.split(".")
                like = parameters[int(index)]
                # empty_like keeps the memory format of the parameter, on which the speed of a step depends.
                kept = torch.empty_like(like).copy_(tensor) if tensor.shape == like.shape else tensor
                state.setdefault(int(index), {})[key] = kept
            optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
        self.step = step


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(f"{prefix}."): t for name, t in tensors.items() if name.startswith(f"{prefix}.")}
