"""MoCo v2: a query against the key of a slowly moving encoder and a queue of earlier keys (Chen et al. 2020)."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from sslmlflow.distributed import gather
from sslmlflow.encoders import Encoder
from sslmlflow.methods.base import Batch, Method, Progress
from sslmlflow.methods.heads import Head
from sslmlflow.methods.momentum import Momentum
from sslmlflow.methods.recipes import monitoring_recipe


def info_nce(query: Tensor, key: Tensor, temperature: float, queue: Tensor | None = None) -> Tensor:
    """Return the InfoNCE loss: each query is to find the key of its image by cosine similarity, averaged.

    Args:
        query, key: (n, d), row i of each from image i; not yet of length 1.
        temperature: Above 0.
        queue: Keys (m, d) of length 1 that are no image's of the batch, as negatives; without it the keys of the
            other images are.

    Returns:
        A scalar of 0 or more.

    Source: He et al. 2020 (arXiv 1911.05722), Eq. 1.

    >>> print(f"{info_nce(torch.eye(2), torch.eye(2), temperature=0.5):.4f}")
    0.1269
    """
    query, key = normalize(query, dim=1), normalize(key, dim=1)
    if queue is None:
        similarities, places = query @ key.T, torch.arange(len(query), device=query.device)
    else:
        positive = (query * key).sum(dim=1, keepdim=True)
        similarities = torch.cat([positive, query @ queue.T], dim=1)
        places = torch.zeros(len(query), dtype=torch.long, device=query.device)
    return cross_entropy(similarities / temperature, places)


class MoCo(Method):
    """MoCo v2 (arXiv 2003.04297) with the recipe of label-free monitoring (Xu et al., III-B).

    The first view is the query, the second the key; the loss is `info_nce` against the queue. The key encoder follows
    by exponential moving average of its parameters; its BatchNorm statistics are its own.
    """

    recipe = monitoring_recipe(epochs=800, lr=0.06, weight_decay=5e-4)
    heads = ("projector",)
    queue: Tensor
    queue_position: Tensor

    def __init__(
        self,
        encoder: Encoder,
        *,
        temperature: float,
        queue_size: int,
        key_momentum: float,
        hidden_width: int,
        projection_width: int,
    ) -> None:
        super().__init__(encoder)
        self.projector = Head(encoder.embedding_width, hidden_width, projection_width, norm=False)
        self.key = Momentum(key_momentum, key_momentum, encoder=encoder, projector=self.projector)
        self.register_buffer("queue", normalize(torch.randn(queue_size, projection_width), dim=1))
        self.register_buffer("queue_position", torch.zeros((), dtype=torch.long))
        self._temperature = temperature

    def project(self, batch: Batch) -> dict[str, Tensor]:
        query, key = batch.crops[0]
        return {"query": self.projector(self.encoder(query)), "key": self.key(key)}

    def loss(self, out: dict[str, Tensor], progress: Progress) -> dict[str, Tensor]:
        return {"loss": info_nce(out["query"].float(), out["key"].float(), self._temperature, self.queue)}

    def held_out_loss(self, out: dict[str, Tensor]) -> Tensor:
        """`info_nce` with the keys of the other images in place of the queue, which holds training images."""
        return info_nce(out["query"].float(), out["key"].float(), self._temperature)

    @torch.no_grad()
    def after_step(self, out: dict[str, Tensor], progress: Progress) -> None:
        self.key.follow(progress)
        keys = gather(normalize(out["key"].float(), dim=1))[-len(self.queue) :]
        places = (self.queue_position + torch.arange(len(keys), device=keys.device)) % len(self.queue)
        self.queue[places] = keys
        self.queue_position.copy_((self.queue_position + len(keys)) % len(self.queue))
