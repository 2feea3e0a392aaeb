"""An encoder of two convolutions, for tests of what is built around an encoder."""

import torch
from torch import nn

from sslmlflow.encoders import Encoder


def tiny_encoder(seed: int = 0, size: int = 8, dropout: float = 0.0) -> Encoder:
    """Images of `size` px to 6 early and 12 last features, with BatchNorm in either part."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        early = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(dropout))
        late = nn.Sequential(
            nn.Conv2d(6, 12, 3, stride=2, padding=1),
            nn.BatchNorm2d(12),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        return Encoder(early, late, size)
