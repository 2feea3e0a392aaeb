"""A teacher: a copy of modules that follows them by exponential moving average, without a gradient."""

import copy
from math import cos, pi

import torch
from torch import Tensor, nn

from sslmlflow.methods.base import Progress


class Momentum(nn.Module):
    """Copies of modules, by name, whose parameters keep a share of their old values at each step.

    The share goes from `start` to `end` by half a cosine over the training (Grill et al. 2020, arXiv 2006.07733,
    "Implementation details"). BatchNorm statistics are the copies' own: they are of what the copies have seen. The
    stochastic depth of timm is off in them.

    Args:
        start, end: Between 0 and 1.
        leaders: The modules, in the order in which images pass through them.
    """

    def __init__(self, start: float, end: float, **leaders: nn.Module) -> None:
        super().__init__()
        self._start, self._end = start, end
        self._leaders = tuple(leaders.values())  # in a tuple, so that they are not part of this module
        for name, leader in leaders.items():
            follower = copy.deepcopy(leader).requires_grad_(False)
            for module in follower.modules():
                if isinstance(getattr(module, "drop_prob", None), float):
                    module.drop_prob = 0.0  # type: ignore[assignment]
            self.add_module(name, follower)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Images through all copies."""
        for follower in self.children():
            images = follower(images)
        return images

    def share(self, progress: Progress) -> float:
        """How much of its old value a parameter keeps.

        >>> Momentum(0.99, 1.0).share(Progress(0.5, 10))
        0.995
        """
        return self._end - (self._end - self._start) * (1 + cos(pi * progress.done)) / 2

    @torch.no_grad()
    def follow(self, progress: Progress) -> None:
        """Take a step after the leaders."""
        share = self.share(progress)
        for leader, follower in zip(self._leaders, self.children(), strict=True):
            for new, old in zip(leader.parameters(), follower.parameters(), strict=True):
                old.lerp_(new, 1 - share)
