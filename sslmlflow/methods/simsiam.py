"""SimSiam: each view predicts the other, whose branch receives no gradient (Chen and He 2021)."""

from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from sslmlflow.encoders import Encoder
from sslmlflow.methods.base import Batch, Method, Progress
from sslmlflow.methods.heads import Head
from sslmlflow.methods.recipes import monitoring_recipe


def negative_cosine(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the negative cosine similarity of predictions and what they predict, averaged; no gradient flows there.

    Args:
        prediction, target: (n, d), row i of each from image i.

    Returns:
        A scalar between -1 and 1.

    Source: Chen and He 2021 (arXiv 2011.10566), Eq. 1.

    >>> import torch
    >>> print(negative_cosine(torch.eye(2), 3 * torch.eye(2)).item())
    -1.0
    """
    return -cosine_similarity(prediction, target.detach(), dim=1).mean()


class SimSiam(Method):
    """SimSiam (arXiv 2011.10566) with the recipe of label-free monitoring (Xu et al., III-B).

    The loss is `negative_cosine` in both directions, averaged (Eq. 2 of the former). Each view passes through the
    encoder by itself, so BatchNorm sees one view at a time.
    """

    recipe = monitoring_recipe(epochs=800, lr=0.06, weight_decay=5e-4)
    heads = ("projector", "predictor")

    def __init__(self, encoder: Encoder, *, projection_width: int, bottleneck_width: int) -> None:
        super().__init__(encoder)
        last = nn.BatchNorm1d(projection_width, affine=False)
        self.projector = Head(encoder.embedding_width, *[projection_width] * 3, last=last)
        self.predictor = Head(projection_width, bottleneck_width, projection_width)

    def project(self, batch: Batch) -> dict[str, Tensor]:
        first, second = (self.projector(self.encoder(view)) for view in batch.crops[0])
        return {
            "first": first,
            "second": second,
            "first_prediction": self.predictor(first),
            "second_prediction": self.predictor(second),
        }

    def loss(self, out: dict[str, Tensor], progress: Progress) -> dict[str, Tensor]:
        parts = {name: tensor.float() for name, tensor in out.items()}
        to_second = negative_cosine(parts["first_prediction"], parts["second"])
        to_first = negative_cosine(parts["second_prediction"], parts["first"])
        return {"loss": (to_second + to_first) / 2}
