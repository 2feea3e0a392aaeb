"""MoCo v2: a query against the key of a slowly moving encoder and a queue of earlier keys (Chen et al. 2020)."""

import copy
from dataclasses import dataclass

import torch
from lightly.models.modules.heads import MoCoProjectionHead
from lightly.models.utils import update_momentum
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from sslmlflow.config.options import option
from sslmlflow.encoders import Encoder
from sslmlflow.methods.base import Method, Recipe


@dataclass(frozen=True)
class MoCoOptions:
    temperature: float = option(0.1, "temperature of the softmax over similarities", above=0)
    queue_size: int = option(4096, "number of earlier keys that serve as negatives", minimum=1)
    key_momentum: float = option(
        0.99, "share of its old weights that the key encoder keeps at each step", minimum=0, maximum=1
    )
    hidden_width: int = option(2048, "width of the projector's hidden layer", minimum=1)
    projection_width: int = option(128, "width of the projections", minimum=1)


class MoCo(Method):
    """MoCo v2 (arXiv 2003.04297) with the recipe of label-free monitoring (Xu et al., III-B).

    The first view is the query, the second the key. The key encoder follows by exponential moving average
    of its parameters; its BatchNorm statistics are its own.
    """

    recipe = Recipe(epochs=800, lr=0.06, weight_decay=5e-4)
    Options = MoCoOptions
    queue: Tensor
    queue_position: Tensor

    def __init__(self, encoder: Encoder, options: MoCoOptions) -> None:
        super().__init__(encoder, options)
        self.encoder = encoder
        self.projector = MoCoProjectionHead(encoder.embedding_width, options.hidden_width, options.projection_width)
        self.key_encoder: nn.Module = copy.deepcopy(encoder).requires_grad_(False)
        self.key_projector: nn.Module = copy.deepcopy(self.projector).requires_grad_(False)
        self.register_buffer("queue", normalize(torch.randn(options.queue_size, options.projection_width), dim=1))
        self.register_buffer("queue_position", torch.zeros((), dtype=torch.long))
        self._options = options

    def project(self, views: Tensor) -> dict[str, Tensor]:
        query = self.projector(self.encoder(views[0]))
        with torch.no_grad():
            key = self.key_projector(self.key_encoder(views[1]))
        return {"query": query, "key": key}

    def loss(self, projections: dict[str, Tensor]) -> dict[str, Tensor]:
        """InfoNCE (arXiv 1911.05722, Eq. 1): the key of the same image against those of the queue."""
        query, key = _unit(projections)
        positive = (query * key).sum(dim=1, keepdim=True)
        similarities = torch.cat([positive, query @ self.queue.T], dim=1)
        the_key = torch.zeros(len(query), dtype=torch.long, device=query.device)
        return {"loss": cross_entropy(similarities / self._options.temperature, the_key)}

    def held_out_loss(self, projections: dict[str, Tensor]) -> Tensor:
        """InfoNCE with the keys of the other images in place of the queue, which holds training images."""
        query, key = _unit(projections)
        the_key = torch.arange(len(query), device=query.device)
        return cross_entropy(query @ key.T / self._options.temperature, the_key)

    @torch.no_grad()
    def after_step(self, projections: dict[str, Tensor], progress: float) -> None:
        update_momentum(self.encoder, self.key_encoder, self._options.key_momentum)
        update_momentum(self.projector, self.key_projector, self._options.key_momentum)
        keys = normalize(projections["key"].float(), dim=1)[-len(self.queue) :]
        places = (self.queue_position + torch.arange(len(keys), device=keys.device)) % len(self.queue)
        self.queue[places] = keys
        self.queue_position.copy_((self.queue_position + len(keys)) % len(self.queue))


def _unit(projections: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    return normalize(projections["query"].float(), dim=1), normalize(projections["key"].float(), dim=1)
