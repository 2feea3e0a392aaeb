"""BYOL: each view predicts what a slowly moving copy of the network makes of the other (Grill et al. 2020)."""

from torch import Tensor, nn
from torch.nn.functional import normalize

from sslmlflow.data.stacks import asymmetric
from sslmlflow.encoders import Encoder
from sslmlflow.methods.base import Batch, Method, Progress
from sslmlflow.methods.heads import Head
from sslmlflow.methods.momentum import Momentum
from sslmlflow.methods.recipes import small_images_recipe


def byol_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the squared distance of predictions and targets of length 1, averaged; no gradient flows to the targets.

    Args:
        prediction, target: (n, d), row i of each from image i; not yet of length 1.

    Returns:
        A scalar between 0 and 4.

    Source: Grill et al. 2020 (arXiv 2006.07733), Eq. 2.

    >>> import torch
    >>> byol_loss(torch.eye(2), torch.eye(2).flip(0)).item()
    2.0
    """
    return (normalize(prediction, dim=1) - normalize(target.detach(), dim=1)).square().sum(dim=1).mean()


class BYOL(Method):
    """BYOL (arXiv 2006.07733) with solo-learn's recipe for CIFAR; the loss is `byol_loss` of either view, added.

    The teacher's share of old values goes from `teacher_momentum` to 1. Each view passes through the networks by
    itself, so BatchNorm sees one view at a time.
    """

    recipe = small_images_recipe(lr=1.0, weight_decay=1e-5, views=asymmetric)
    heads = ("projector", "predictor")

    def __init__(self, encoder: Encoder, *, hidden_width: int, projection_width: int, teacher_momentum: float) -> None:
        super().__init__(encoder)
        self.projector = Head(encoder.embedding_width, hidden_width, projection_width)
        self.predictor: nn.Module = Head(projection_width, hidden_width, projection_width)
        self.teacher = Momentum(teacher_momentum, 1.0, encoder=encoder, projector=self.projector)

    def project(self, batch: Batch) -> dict[str, Tensor]:
        first, second = (self.predictor(self.projector(self.encoder(view))) for view in batch.crops[0])
        first_target, second_target = (self.teacher(view) for view in batch.crops[0])
        return {
            "first_prediction": first,
            "second_prediction": second,
            "first_target": first_target,
            "second_target": second_target,
        }

    def loss(self, out: dict[str, Tensor], progress: Progress) -> dict[str, Tensor]:
        parts = {name: tensor.float() for name, tensor in out.items()}
        to_second = byol_loss(parts["first_prediction"], parts["second_target"])
        to_first = byol_loss(parts["second_prediction"], parts["first_target"])
        return {"loss": to_second + to_first}

    def after_step(self, out: dict[str, Tensor], progress: Progress) -> None:
        self.teacher.follow(progress)
