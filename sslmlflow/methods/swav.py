"""SwAV: each view predicts which prototypes the other is assigned to, all being used alike (Caron et al. 2020)."""

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax, normalize

from sslmlflow.data.augmentation import Augmentation, CropGroup, Views
from sslmlflow.data.stacks import LARGEST_SHARP, MultiCrop
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
    codes = scores / eps  # logarithms, of which none is too small
    for _ in range(iterations):
        codes = codes - codes.logsumexp(dim=0, keepdim=True)
        codes = codes - codes.logsumexp(dim=1, keepdim=True)
    return codes.exp()


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
    # What a view predicts of itself does not count. A mask would be waited for on a GPU.
    return (found.sum() - found.diagonal().sum()) / (found.numel() - len(codes))


def strong_colours(size: int) -> Views:
    """Two views drawn alike, of a fifth of the image or more, with SimCLR's jitter at full strength."""
    blur = 0.5 if size > LARGEST_SHARP else 0.0
    return (CropGroup(2, Augmentation(size, scale=(0.2, 1.0), jitter=(0.8, 0.8, 0.8, 0.2), blur_p=blur)),)


class SwAV(Method):
    """SwAV (arXiv 2006.09882) with solo-learn's recipe for CIFAR; the loss is `swav_loss` of codes by `sinkhorn`.

    Prototypes have length 1 and are frozen during the first epochs. Earlier projections take part in the assignments
    once a share of the training is done and the queue is full. Small views predict, but are not predicted.
    """

    recipe = small_images_recipe(lr=0.6, weight_decay=1e-6, views=strong_colours, multi_crop=MultiCrop())
    heads = ("projector",)
    gathered = ("projections", "scores")
    queue: Tensor
    queued: Tensor

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
        self.register_buffer("queued", torch.zeros((), dtype=torch.long))  # projections so far
        self._temperature, self._eps = temperature, sinkhorn_eps
        self._queue_start, self._frozen_epochs = queue_start, frozen_epochs
        self._normalise()

    def project(self, batch: Batch) -> dict[str, Tensor]:
        passed = [self.projector(self.encoder(of.flatten(0, 1))).unflatten(0, of.shape[:2]) for of in batch.crops]
        projections = normalize(torch.cat(passed), dim=2)
        return {"projections": projections.transpose(0, 1), "scores": self.prototypes(projections).transpose(0, 1)}

    def loss(self, out: dict[str, Tensor], progress: Progress) -> dict[str, Tensor]:
        scores = out["scores"].float().transpose(0, 1)
        codes = self._codes(scores)
        if progress.done >= self._queue_start:
            # A choice on the device, which is not waited for.
            is_full = self.queued >= self.queue.shape[1]
            codes = torch.where(is_full, self._codes(scores, self.queue @ self.prototypes.weight.detach().T), codes)
        return {"loss": swav_loss(scores, codes, self._temperature)}

    def held_out_loss(self, out: dict[str, Tensor]) -> Tensor:
        """`swav_loss` of codes of the images alone: the queue holds training images."""
        scores = out["scores"].float().transpose(0, 1)
        return swav_loss(scores, self._codes(scores), self._temperature)

    def _codes(self, scores: Tensor, queued: Tensor | None = None) -> Tensor:
        """The assignments (2, n, k) of the global views, each among the scores of its queue."""
        among = scores[:2].detach() if queued is None else torch.cat([scores[:2].detach(), queued], dim=1)
        return torch.stack([sinkhorn(of_view, self._eps)[: scores.shape[1]] for of_view in among])

    def before_step(self, progress: Progress) -> None:
        self._normalise()
        self.prototypes.requires_grad_(progress.epoch >= self._frozen_epochs)

    @torch.no_grad()
    def after_step(self, out: dict[str, Tensor], progress: Progress) -> None:
        newest = out["projections"].float().transpose(0, 1)[:2]
        self.queue.copy_(torch.cat([newest, self.queue], dim=1)[:, : self.queue.shape[1]])
        self.queued.add_(newest.shape[1])
        self._normalise()  # milestones hold them as the loss takes them

    @torch.no_grad()
    def _normalise(self) -> None:
        self.prototypes.weight.copy_(normalize(self.prototypes.weight, dim=1))
