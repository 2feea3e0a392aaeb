"""SwAV: each view predicts which prototypes the other is assigned to, all being used alike (Caron et al. 2020)."""

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax, normalize

from sslmlflow.data.stacks import asymmetric
from sslmlflow.encoders import Encoder
from sslmlflow.methods.base import Batch, Method, Progress
from sslmlflow.methods.heads import Head
from sslmlflow.methods.recipes import small_images_recipe

ITERATIONS = 3


@torch.no_grad()
def sinkhorn(scores: Tensor, eps: float = 0.05, iterations: int = ITERATIONS) -> Tensor:
    """Return soft assignments of rows to prototypes that use all prototypes alike.

    Args:
        scores: (n, k) similarities.
        eps: Above 0; the smaller, the harder the assignments.
        iterations: Rounds of making columns, then rows, equal.

    Returns:
        (n, k), every row with the sum 1; after many iterations every column with the sum n/k.

    Source: Caron et al. 2020 (arXiv 2006.09882), Eq. 3 to 5.

    >>> sinkhorn(torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
    tensor([[0.5000, 0.5000],
            [0.5000, 0.5000]])
    """
    codes = ((scores - scores.max()) / eps).exp()  # only differences count, and so no exponential is too large
    for _ in range(iterations):
        codes = codes / codes.sum(dim=0, keepdim=True).clamp_min(torch.finfo(codes.dtype).tiny)
        codes = codes / codes.sum(dim=1, keepdim=True)
    return codes


def swav_loss(scores: Tensor, codes: Tensor, temperature: float = 0.1) -> Tensor:
    """Return the cross-entropy of every view's prediction and every other global view's codes, averaged.

    Args:
        scores: (v, n, k) similarities of v views of n images to k prototypes, the global views first.
        codes: (g, n, k), the assignments of the g global views.
        temperature: Above 0.

    Returns:
        A scalar of 0 or more.

    Source: Caron et al. 2020 (arXiv 2006.09882), Eq. 2 and 6.

    >>> scores = torch.tensor([[[1.0, 0.0]], [[1.0, 0.0]]])
    >>> print(f"{swav_loss(scores, sinkhorn(scores.flatten(0, 1))[:, None]):.4f}")
    5.0000
    """
    predicted = log_softmax(scores / temperature, dim=2)
    found = -torch.einsum("gnk,vnk->gv", codes, predicted) / scores.shape[1]
    others = ~torch.eye(len(codes), len(scores), dtype=torch.bool, device=scores.device)
    return found[others].mean()


class SwAV(Method):
    """SwAV (arXiv 2006.09882) with solo-learn's recipe for CIFAR; the loss is `swav_loss` of codes by `sinkhorn`.

    Prototypes have length 1 and stay as they were drawn during the first epochs; earlier projections join the batch in
    assigning codes once a share of the training is done. Small views predict, but are not predicted.
    """

    recipe = small_images_recipe(lr=0.6, weight_decay=1e-6, views=asymmetric, multi_crop=True)
    heads = ("projector",)
    queue: Tensor

    def __init__(
        self,
        encoder: Encoder,
        *,
        temperature: float,
        prototypes: int,
        sinkhorn_eps: float,
        queue_size: int,
        queue_start: float,
        frozen_epochs: int,
        hidden_width: int,
        projection_width: int,
    ) -> None:
        super().__init__(encoder)
        self.projector = Head(encoder.embedding_width, hidden_width, projection_width)
        self.prototypes = nn.Linear(projection_width, prototypes, bias=False)
        self.register_buffer("queue", normalize(torch.randn(2, queue_size, projection_width), dim=2))
        self._temperature, self._eps = temperature, sinkhorn_eps
        self._queue_start, self._frozen_epochs = queue_start, frozen_epochs
        self._normalise()

    def project(self, batch: Batch) -> dict[str, Tensor]:
        passed = [self.projector(self.encoder(of.flatten(0, 1))).unflatten(0, of.shape[:2]) for of in batch.crops]
        projections = normalize(torch.cat(passed), dim=2)
        return {"projections": projections.transpose(0, 1), "scores": self.prototypes(projections).transpose(0, 1)}

    def loss(self, out: dict[str, Tensor], progress: Progress) -> dict[str, Tensor]:
        scores = out["scores"].float().transpose(0, 1)
        queued = [] if progress.done < self._queue_start else list(self.queue @ self.prototypes.weight.detach().T)
        return {"loss": swav_loss(scores, self._codes(scores, queued), self._temperature)}

    def held_out_loss(self, out: dict[str, Tensor]) -> Tensor:
        """`swav_loss` of codes of the images alone: the queue holds training images."""
        scores = out["scores"].float().transpose(0, 1)
        return swav_loss(scores, self._codes(scores, []), self._temperature)

    def _codes(self, scores: Tensor, queued: list[Tensor]) -> Tensor:
        """The assignments (2, n, k) of the global views, each among the scores of its queue."""
        found = []
        for view in range(2):
            among = torch.cat([scores[view], *queued[view : view + 1]]).detach()
            found.append(sinkhorn(among, self._eps)[: scores.shape[1]])
        return torch.stack(found)

    def before_step(self, progress: Progress) -> None:
        self._normalise()
        self.prototypes.requires_grad_(progress.epoch >= self._frozen_epochs)

    @torch.no_grad()
    def after_step(self, out: dict[str, Tensor], progress: Progress) -> None:
        newest = out["projections"].float().transpose(0, 1)[:2]
        self.queue.copy_(torch.cat([newest, self.queue], dim=1)[:, : self.queue.shape[1]])

    @torch.no_grad()
    def _normalise(self) -> None:
        self.prototypes.weight.copy_(normalize(self.prototypes.weight, dim=1))
