"""SimCLR: two views of an image attract, all other views of the batch repel (Chen et al. 2020)."""

from dataclasses import dataclass

from lightly.loss import NTXentLoss
from lightly.models.modules.heads import SimCLRProjectionHead
from torch import Tensor

from sslmlflow.config.options import option
from sslmlflow.encoders import Encoder
from sslmlflow.methods.base import Method, Recipe


@dataclass(frozen=True)
class SimCLROptions:
    temperature: float = option(0.5, "temperature of the softmax over similarities", above=0)
    hidden_width: int = option(2048, "width of the projector's hidden layer", minimum=1)
    projection_width: int = option(128, "width of the projections", minimum=1)


class SimCLR(Method):
    """SimCLR (arXiv 2002.05709) with the recipe of label-free monitoring (Xu et al., III-B).

    The loss is the NT-Xent loss, Eq. 1 of the former, averaged over all 2n views.
    """

    recipe = Recipe(epochs=1000, lr=0.5, weight_decay=1e-4)
    Options = SimCLROptions

    def __init__(self, encoder: Encoder, options: SimCLROptions) -> None:
        super().__init__(encoder, options)
        self.encoder = encoder
        self.projector = SimCLRProjectionHead(encoder.embedding_width, options.hidden_width, options.projection_width)
        self._ntxent = NTXentLoss(temperature=options.temperature)

    def project(self, views: Tensor) -> dict[str, Tensor]:
        first, second = self.projector(self.encoder(views.flatten(0, 1))).chunk(2)
        return {"first": first, "second": second}

    def loss(self, projections: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"loss": self._ntxent(projections["first"].float(), projections["second"].float())}
