"""SimSiam: each view predicts the other, whose branch receives no gradient (Chen and He 2021)."""

from dataclasses import dataclass

from lightly.loss import NegativeCosineSimilarity
from lightly.models.modules.heads import SimSiamPredictionHead, SimSiamProjectionHead
from torch import Tensor

from sslmlflow.config.options import option
from sslmlflow.encoders import Encoder
from sslmlflow.methods.base import Method, Recipe


@dataclass(frozen=True)
class SimSiamOptions:
    projection_width: int = option(2048, "width of the projector's hidden layers and of the projections", minimum=1)
    bottleneck_width: int = option(512, "width of the predictor's hidden layer", minimum=1)


class SimSiam(Method):
    """SimSiam (arXiv 2011.10566) with the recipe of label-free monitoring (Xu et al., III-B).

    The loss is the symmetrised negative cosine similarity, Eq. 2 of the former: between -1 and 1.
    Each view passes through the encoder by itself, so BatchNorm sees one view at a time.
    """

    recipe = Recipe(epochs=800, lr=0.06, weight_decay=5e-4)
    Options = SimSiamOptions

    def __init__(self, encoder: Encoder, options: SimSiamOptions) -> None:
        super().__init__(encoder, options)
        width = options.projection_width
        self.encoder = encoder
        self.projector = SimSiamProjectionHead(encoder.embedding_width, width, width)
        self.predictor = SimSiamPredictionHead(width, options.bottleneck_width, width)
        self._negative_cosine = NegativeCosineSimilarity()

    def project(self, views: Tensor) -> dict[str, Tensor]:
        first, second = (self.projector(self.encoder(view)) for view in views)
        return {
            "first": first,
            "second": second,
            "first_prediction": self.predictor(first),
            "second_prediction": self.predictor(second),
        }

    def loss(self, projections: dict[str, Tensor]) -> dict[str, Tensor]:
        parts = {name: tensor.float() for name, tensor in projections.items()}
        to_second = self._negative_cosine(parts["first_prediction"], parts["second"].detach())
        to_first = self._negative_cosine(parts["second_prediction"], parts["first"].detach())
        return {"loss": (to_second + to_first) / 2}
