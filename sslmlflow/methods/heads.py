"""Projectors and predictors: linear layers with BatchNorm and ReLU between them."""

from itertools import pairwise

from torch import Tensor, nn


class Head(nn.Module):
    """Linear layers, after each but the last BatchNorm and ReLU; weights are drawn as torch draws them.

    Args:
        widths: Of the input, of every hidden layer, and of the output: two or more.
        norm: Whether BatchNorm comes before each ReLU.
        last: What follows the last layer; a layer that BatchNorm follows has no bias.
    """

    def __init__(self, *widths: int, norm: bool = True, last: nn.Module | None = None) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths[:-1]):
            layers.append(nn.Linear(inputs, outputs, bias=not norm))
            layers += [nn.BatchNorm1d(outputs)] if norm else []
            layers.append(nn.ReLU())
        layers.append(nn.Linear(widths[-2], widths[-1], bias=last is None))
        layers += [last] if last is not None else []
        self.layers = nn.Sequential(*layers)  # by this name in the milestones that there are

    def forward(self, features: Tensor) -> Tensor:
        """Features (n, first width) to (n, last width)."""
        projected: Tensor = self.layers(features)
        return projected
