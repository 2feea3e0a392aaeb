"""An encoder in two parts: early (images to a feature map) and late (feature map to embedding)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate


@dataclass(frozen=True)
class EncoderSpec:
    """All that is needed to build an encoder again, besides weights that were trained here.

    A ResNet's early part ends with `early`. `published`: it begins with torchvision's weights, and with torchvision's
    layers. `upscale`: it takes images of any size and scales them to `image_size` first. At most `block` images are
    embedded at once. `options`: of an architecture of timm that is trained, and so has two parts: auto, or its settings
    as name=value,name=value.
    """

    name: str = "resnet18"
    stem: str = "cifar"
    width: int = 64
    image_size: int = 32
    early: str = "layer3"
    published: bool = False
    upscale: bool = False
    block: int = 256
    options: str = ""


class Encoder(nn.Module):
    """An encoder without its classification head; images (n, channels, size, size) to embeddings (n, width)."""

    def __init__(self, early: nn.Module, late: nn.Module, image_size: int, block: int = 256, channels: int = 3) -> None:
        super().__init__()
        self.block = block
        self._input_shape = channels, image_size, image_size
        self.early = early
        self.late = late
        self.early_width, self.embedding_width = self._widths()

    def forward(self, images: Tensor) -> Tensor:
        embedding: Tensor = self.late(self.early(images))
        return embedding

    def embed(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings of the early layer (its feature map averaged over space) and of the last layer."""
        feature_map = self.early(images)
        return pool(feature_map), self.late(feature_map)

    def with_map(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The last feature map (n, c, h, w), which is averaged into the embedding, and the embedding."""
        maps: list[Tensor] = []
        pooling = self._pooling()
        assert pooling is not None
        hook = pooling.register_forward_pre_hook(lambda module, given: maps.append(given[0]))
        try:
            embedding: Tensor = self(images)
        finally:
            hook.remove()
        return maps[0], embedding

    def _pooling(self) -> nn.Module | None:
        found = [module for module in self.late.modules() if isinstance(module, nn.AdaptiveAvgPool2d)]
        return found[-1] if found else None

    @property
    def map_width(self) -> int | None:
        """Channels of the map that is averaged into the embedding; None where there is no such map."""
        if self._pooling() is None:
            return None
        self.eval()
        with torch.no_grad():
            where = next(self.parameters()).device  # not torch's default: a method may be built without memory
            feature_map, embedding = self.with_map(torch.zeros(1, *self._input_shape, device=where))
        self.train()
        averaged = feature_map.ndim == 4 and feature_map.shape[1] == embedding.shape[1]
        return feature_map.shape[1] if averaged else None

    def _widths(self) -> tuple[int, int]:
        self.eval()
        with torch.no_grad():
            early, last = self.embed(torch.zeros(1, *self._input_shape))
        self.train()
        return early.shape[1], last.shape[1]


class Upscale(nn.Module):
    """Images (n, c, h, w) to (n, c, size, size), bilinearly."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, images: Tensor) -> Tensor:
        scaled: Tensor = interpolate(images, (self.size, self.size), mode="bilinear", antialias=True)
        return scaled


def pool(feature_map: Tensor) -> Tensor:
    """The mean of a feature map (n, c, h, w) over space, or of tokens (n, t, c) over tokens."""
    return feature_map.mean(dim=(2, 3)) if feature_map.ndim == 4 else feature_map.mean(dim=1)
