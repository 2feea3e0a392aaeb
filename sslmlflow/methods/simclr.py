"""SimCLR: two views of an image attract, all other views of the batch repel (Chen et al. 2020)."""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from sslmlflow.encoders import Encoder
from sslmlflow.methods.base import Batch, Method, Progress
from sslmlflow.methods.heads import Head
from sslmlflow.methods.recipes import monitoring_recipe


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Return the normalised, temperature-scaled cross-entropy of two views, averaged over all 2n of them.

    Each view is to find the other one of its image by cosine similarity among the 2n - 1 others of the batch.

    Args:
        first, second: Projections (n, d) of the two views, row i of each from image i; not yet of length 1.
        temperature: Above 0.

    Returns:
        A scalar: 0 or more, log(2n - 1) where all are equal.

    Source: Chen et al. 2020 (arXiv 2002.05709), Eq. 1.

    >>> print(f"{nt_xent(torch.eye(2), torch.eye(2), temperature=0.5):.4f}")
    0.2395
    """
    n = len(first)
    z = normalize(torch.cat([first, second]), dim=1)
    itself = torch.eye(2 * n, dtype=torch.bool, device=z.device)
    similarities = (z @ z.T / temperature).masked_fill(itself, -torch.inf)
    other_view = torch.arange(2 * n, device=z.device).roll(n)
    return cross_entropy(similarities, other_view)


class SimCLR(Method):
    """SimCLR (arXiv 2002.05709) with the recipe of label-free monitoring (Xu et al., III-B); the loss is `nt_xent`."""

    recipe = monitoring_recipe(epochs=1000, lr=0.5, weight_decay=1e-4)
    heads = ("projector",)
    gathered = ("first", "second")

    def __init__(self, encoder: Encoder, *, temperature: float, hidden_width: int, projection_width: int) -> None:
        super().__init__(encoder)
        last = nn.BatchNorm1d(projection_width)
        self.projector = Head(encoder.embedding_width, hidden_width, projection_width, last=last)
        self._temperature = temperature

    def project(self, batch: Batch) -> dict[str, Tensor]:
        first, second = self.projector(self.encoder(batch.crops[0].flatten(0, 1))).chunk(2)
        return {"first": first, "second": second}

    def loss(self, out: dict[str, Tensor], progress: Progress) -> dict[str, Tensor]:
        return {"loss": nt_xent(out["first"].float(), out["second"].float(), self._temperature)}
