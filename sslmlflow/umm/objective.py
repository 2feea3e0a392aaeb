"""The inner and the outer objective of UMM on one batch, as functions of the parameters that are tuned."""

from dataclasses import dataclass, field
from math import sqrt
from typing import Final

import torch
from torch import Tensor, nn
from torch.func import functional_call

from sslmlflow.distributed import gather, rank
from sslmlflow.methods import Batch, Method, Progress
from sslmlflow.metrics.unlabelled.coding_rate import coding_rate_reduction_pairs, unit_rows
from sslmlflow.metrics.unlabelled.soft_rate import coding_rate_reduction_soft
from sslmlflow.training.device import Machine
from sslmlflow.umm.density import divergence_from_even, log_volumes
from sslmlflow.umm.fixed_early import eval_mode
from sslmlflow.umm.hypergradient import Parameters

LATE = "encoder.late."
# The paper names no temperature: with 1 the classes of unit rows are nearly all alike. The memberships of every view
# sum to 1, without which the reduction can be negative.
TAU: Final = 0.1
NORMALISE: Final = "sample"


@dataclass(frozen=True)
class Weights:
    """What the objectives are made of: `loss + beta JS` inside, `loss - alpha dR` outside.

    JS is estimated on `js_images` early embeddings in `directions` directions (see `log_volumes`); `kappa` None stands
    for `1/sqrt(d)`, under which a few samples do not take all density. `eps` is the distortion of the coding rate, and
    `crr` its classes: `pairs` of views as in the released code, or `soft` ones as in the paper.
    """

    alpha: float
    beta: float
    eps: float = 0.5
    density: str = "proj_out"
    directions: int = 8
    js_images: int = 64
    kappa: float | None = None
    crr: str = "pairs"


@dataclass
class Objectives:
    """The objectives on one batch with early feature maps `maps` (2n, ...) of its two global views.

    BatchNorm and queues work on copies of the buffers as they are now; those of the first evaluation of the loss are
    kept, with its projections, for the state after the step. Dropout draws alike in every evaluation.
    """

    method: Method
    batch: Batch
    maps: Tensor
    names: list[str]
    weights: Weights
    machine: Machine
    seed: int
    progress: Progress
    said: dict[str, Tensor] = field(default_factory=dict)
    projections: dict[str, Tensor] | None = None
    buffers_after: dict[str, Tensor] = field(default_factory=dict)

    def loss(self, theta: Parameters) -> Tensor:
        """The method's own loss."""
        buffers = self._buffers()
        torch.manual_seed(self.seed + rank())
        with self.machine.autocast():
            projections = functional_call(self.method, {**self._named(theta), **buffers}, (self.batch,))
            projections = self.method.shared(projections)
        losses = self.method.loss(projections, self.progress)
        if self.projections is None:
            self.projections = {name: tensor.detach() for name, tensor in projections.items()}
            self.buffers_after = buffers
            self.said |= {name: loss.detach() for name, loss in losses.items()}
        return losses["loss"]

    def inner(self, theta: Parameters) -> Tensor:
        """The loss plus beta times the divergence of the late densities from the early ones (Eq. 8, constraint)."""
        if not self.weights.beta:
            return self.loss(theta)
        return self.loss(theta) + self.weights.beta * self.divergence(theta)

    def outer(self, theta: Parameters) -> Tensor:
        """The loss less alpha times the coding rate reduction of the late embeddings (Eq. 8, objective)."""
        loss = self.loss(theta)
        self.said["loss_after"] = loss.detach()
        return self._less_reduction(loss, theta)

    def both(self, theta: Parameters) -> Tensor:
        """All three terms on one level."""
        return self._less_reduction(self.inner(theta), theta)

    def _less_reduction(self, loss: Tensor, theta: Parameters) -> Tensor:
        return loss - self.weights.alpha * self.reduction(theta) if self.weights.alpha else loss

    def divergence(self, theta: Parameters) -> Tensor:
        """JS of the densities at the early embeddings of both views of the first images, in float32 or better."""
        late = self.method.encoder.late
        count = max(self.weights.js_images // len(self.batch.crops[0]), 1)
        some = _of_all(self._by_view(self.maps)[:, :count])[:, :count].flatten(0, 1)
        named = self._late({**self._named(theta), **self._buffers()})
        # In train mode the samples of a batch depend on each other: there is no Jacobian of one.
        with eval_mode(late):
            volumes = log_volumes(
                lambda z: functional_call(late, named, (z,)),
                _at_least_single(some),
                self.weights.density,
                self.weights.directions,
                self.seed,
            )
        width = self.method.encoder.embedding_width
        divergence = divergence_from_even(volumes, self.weights.kappa or 1 / sqrt(width))
        self.said.setdefault("js", divergence.detach())
        return divergence

    def reduction(self, theta: Parameters) -> Tensor:
        """Coding rate reduction of the late embeddings, BatchNorm in train mode."""
        named = self._late({**self._named(theta), **self._buffers()})
        torch.manual_seed(self.seed + rank())
        with self.machine.autocast():
            late: Tensor = functional_call(self.method.encoder.late, named, (self.maps,))
        rows = unit_rows(_of_all(self._by_view(_at_least_single(late))))
        reduction: Tensor
        if self.weights.crr == "soft":
            reduction = coding_rate_reduction_soft(rows.flatten(0, 1), TAU, self.weights.eps, NORMALISE).dR
        else:
            reduction = coding_rate_reduction_pairs(rows, self.weights.eps).dR
        self.said.setdefault("crr", reduction.detach())
        return reduction

    def _by_view(self, rows: Tensor) -> Tensor:
        return rows.reshape(len(self.batch.crops[0]), -1, *rows.shape[1:])

    def _named(self, theta: Parameters) -> dict[str, Tensor]:
        return dict(zip(self.names, theta, strict=True))

    def _buffers(self) -> dict[str, Tensor]:
        return {name: buffer.clone() for name, buffer in self.method.named_buffers()}

    def _late(self, named: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name.removeprefix(LATE): tensor for name, tensor in named.items() if name.startswith(LATE)}


def keep_buffers(method: nn.Module, buffers: dict[str, Tensor]) -> None:
    """Put what a functional evaluation did to copies of the buffers into the buffers themselves."""
    for name, buffer in method.named_buffers():
        if name in buffers:
            buffer.copy_(buffers[name])


def _of_all(views: Tensor) -> Tensor:
    """Views (v, n, ...) of all processes' images."""
    return gather(views.transpose(0, 1)).transpose(0, 1)


def _at_least_single(rows: Tensor) -> Tensor:
    return rows.to(torch.promote_types(rows.dtype, torch.float32))
