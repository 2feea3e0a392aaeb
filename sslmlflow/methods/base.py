"""What a self-supervised method is to the training loop."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from sslmlflow.data.augmentation import Views
from sslmlflow.data.stacks import MultiCrop, symmetric
from sslmlflow.distributed import gather
from sslmlflow.encoders import Encoder, EncoderSpec


class Batch(NamedTuple):
    """Views of n images.

    Attributes:
        crops: Views (k, n, c, size, size), a tensor a size; the global ones, of which there are two, first.
        indices: (n,) int64, the images' numbers among the training images, -1 of others.
        boxes: (k, n, 4) for each of the crops, where they were taken (`data.views.boxes`).
    """

    crops: tuple[Tensor, ...]
    indices: Tensor
    boxes: tuple[Tensor, ...]


class Progress(NamedTuple):
    """How far a training is: `done` from 0 to 1, and in epochs."""

    done: float
    epoch: float


FINISHED = Progress(1.0, inf)


@dataclass(frozen=True)
class Recipe:
    """How a method is trained when nothing else is said.

    Attributes:
        lr: Peak learning rate, of a batch of `lr_batch` images where that is given: it grows with the batch.
        optimiser: sgd, lars or adamw.
        decay_all: Whether biases and the parameters of norms decay, too, and are not left out by LARS.
        weight_decay_end: Where weight decay goes by half a cosine; None: it stays.
        trust, trust_clip: LARS's coefficient, and whether no parameter has more than the learning rate.
        clip: Longest gradient; None: any.
        views: The views of an image of a size; `multi_crop`: the small ones that can be beside the two.
        method_options: Settings of the method itself that differ from their defaults.
    """

    epochs: int
    lr: float
    weight_decay: float
    schedule: str = "one-cycle"
    lr_batch: int | None = None
    optimiser: str = "sgd"
    decay_all: bool = False
    weight_decay_end: float | None = None
    trust: float = 0.001
    trust_clip: bool = False
    clip: float | None = None
    views: Callable[[int], Views] = symmetric
    multi_crop: MultiCrop | None = None
    method_options: str = ""

    def lr_of(self, batch_size: int) -> float:
        """The peak learning rate for batches of so many images."""
        return self.lr * batch_size / self.lr_batch if self.lr_batch else self.lr


class Method(nn.Module, ABC):
    """A method in two halves; all its state, queues and momentum copies included, is in `state_dict()`.

    `project` runs on each process's own images. `loss` is a function of the projections, the state and the progress: it
    may be called on projections with functional weights, or on tensors of a test. It talks to no other process: what it
    needs of their images is in `gathered`, and a loss of the process's own images is averaged with the others'.
    """

    recipe: ClassVar[Recipe]
    transformer_recipe: ClassVar[Recipe | None] = None  # for vision transformers, where one is published
    heads: ClassVar[tuple[str, ...]]  # modules that embeddings pass through, in this order
    gathered: ClassVar[tuple[str, ...]] = ()  # projections that `loss` takes of all processes' images together
    encoder: Encoder
    is_tuned = False  # whether `encoder` was tuned by UMM since

    @abstractmethod
    def __init__(self, encoder: Encoder, **options: Any) -> None:
        """Build the heads around `encoder`, drawing from torch's global random state; options by name."""
        super().__init__()
        self.encoder = encoder

    @classmethod
    def check(cls, options: Any, encoder: EncoderSpec, views: Views, batch_size: int) -> None:
        """Raise ConfigError where the method with its options cannot train on these, before anything is trained."""

    @abstractmethod
    def project(self, batch: Batch) -> dict[str, Tensor]:
        """What `loss` takes: tensors (n, ...), one row an image."""

    def shared(self, out: dict[str, Tensor]) -> dict[str, Tensor]:
        """The projections, of all processes' images where `loss` takes these."""
        return {name: gather(tensor) if name in self.gathered else tensor for name, tensor in out.items()}

    @abstractmethod
    def loss(self, out: dict[str, Tensor], progress: Progress) -> dict[str, Tensor]:
        """Scalars by name, with the one to minimise under `loss`; an optimiser of another name minimises its own."""

    def held_out_loss(self, out: dict[str, Tensor]) -> Tensor:
        """The loss of images that are not trained on: a function of their projections alone."""
        return self.loss(out, FINISHED)["loss"]

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """`project` by the name that `torch.func.functional_call` calls."""
        return self.project(batch)

    def before_step(self, progress: Progress) -> None:
        """Prepare the parameters for a step."""

    def after_step(self, out: dict[str, Tensor], progress: Progress) -> None:
        """Update what the gradient does not."""

    def parameter_groups(self) -> dict[str, dict[str, nn.Parameter]]:
        """Trained parameters by name, by optimiser: `main` minimises `loss`, any other the loss of its name."""
        return {"main": {name: p for name, p in self.named_parameters() if p.requires_grad}}

    def begin_tuning(self) -> None:
        """Make `encoder`, of which UMM tunes the late part, the one that is measured."""
        self.is_tuned = True

    @property
    def measured(self) -> Encoder:
        """The encoder that milestones measure and keep."""
        return self.encoder

    @property
    def measured_heads(self) -> tuple[str, ...]:
        """The modules that embeddings of `measured` pass through, in this order; spectra are drawn of them."""
        return self.heads

    @property
    def difficulty(self) -> Tensor | None:
        """What it keeps per training image (images,) for the making of their views, if it does."""
        return None
