"""What a self-supervised method is to the training loop."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from sslmlflow.encoders import Encoder


@dataclass(frozen=True)
class Recipe:
    """How a method is trained when nothing else is said."""

    epochs: int
    lr: float
    weight_decay: float
    schedule: str = "one-cycle"


class Method(nn.Module, ABC):
    """A method in two halves; all its state, queues and momentum copies included, is in `state_dict()`.

    `project` runs on each process's own images. `loss` is a pure function of the projections of the whole
    batch: it may be called on gathered projections, with functional weights, or on tensors of a test.
    """

    recipe: ClassVar[Recipe]
    encoder: Encoder

    @abstractmethod
    def __init__(self, encoder: Encoder, **options: Any) -> None:
        """Build the heads around `encoder`, drawing from torch's global random state; options by name."""
        super().__init__()
        self.encoder = encoder

    @abstractmethod
    def project(self, views: Tensor) -> dict[str, Tensor]:
        """Views (2, n, 3, size, size) to what `loss` takes: tensors (n, ...), one row an image."""

    @abstractmethod
    def loss(self, projections: dict[str, Tensor]) -> dict[str, Tensor]:
        """Scalars by name, with the one to minimise under `loss`."""

    def held_out_loss(self, projections: dict[str, Tensor]) -> Tensor:
        """The loss of images that are not trained on: a function of their projections alone."""
        return self.loss(projections)["loss"]

    def forward(self, views: Tensor) -> dict[str, Tensor]:
        """`project` by the name that `torch.func.functional_call` calls."""
        return self.project(views)

    def after_step(self, projections: dict[str, Tensor], progress: float) -> None:
        """Update what the gradient does not; `progress` runs from 0 to 1 over the training."""
