"""What is done to an image before the encoder sees it; every milestone carries its own."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from sslmlflow.data.bad_image import BadImage
from sslmlflow.data.bit_depth import FULL
from sslmlflow.data.decode import square, to_rgb, upright
from sslmlflow.data.source import Images
from sslmlflow.errors import UserError

MEASURED_IMAGES = 10_000


@dataclass(frozen=True)
class Preprocessing:
    """Size in pixels, channels of the training images (1 or 3), their mean and deviation on the scale 0..1.

    `bit_depth`: bits that gray pictures of more than 8 bits use; black to white is 0 to 2^bit_depth - 1.
    """

    image_size: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    bit_depth: int = FULL

    def tensors(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Mean and deviation, one value a channel."""
        return torch.tensor(self.mean, device=device), torch.tensor(self.std, device=device)

    def normalise(self, images: Tensor) -> Tensor:
        """Images (n, c, size, size), 0..255, to what the encoder takes: float (n, 3, size, size).

        Colour images for an encoder of gray ones are turned gray, and gray ones repeated for one of colour.
        """
        mean, std = self.tensors(images.device)
        scaled = images.float() / 255
        if self.channels == 1 and images.shape[1] == 3:
            from torchvision.transforms.functional import rgb_to_grayscale  # not above: it brings torch's compiler

            scaled = rgb_to_grayscale(scaled)
        scaled = (scaled - mean[:, None, None]) / std[:, None, None]
        return scaled.expand(-1, 3, -1, -1)

    def pixels(self, pictures: Sequence[Image.Image]) -> NDArray[np.uint8]:
        """Pictures of any size and mode to (n, channels, size, size), 0..255, as the `folder` data set reads them.

        Raises UserError for a picture whose values have no rule, or do not fit into the bit depth.
        """
        stacked = np.stack([self._pixels(number, picture) for number, picture in enumerate(pictures)])
        return np.ascontiguousarray(stacked.transpose(0, 3, 1, 2)) if self.channels == 3 else stacked[:, None]

    def _pixels(self, number: int, picture: Image.Image) -> NDArray[np.uint8]:
        try:
            shown = upright(to_rgb(picture, self.bit_depth), picture)
        except BadImage as error:
            raise UserError(f"picture {number} cannot be used: {error}.") from error
        return np.asarray(square(shown, self.image_size).convert("RGB" if self.channels == 3 else "L"))

    def as_json(self) -> dict[str, Any]:
        """What `from_json` takes back."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(kept: dict[str, Any]) -> "Preprocessing":
        """The preprocessing that `as_json` described; earlier releases read all gray with 16 bits."""
        mean, std = tuple(kept["mean"]), tuple(kept["std"])
        return Preprocessing(kept["image_size"], kept["channels"], mean, std, kept.get("bit_depth", FULL))


def measure_preprocessing(images: Images, bit_depth: int | None = None) -> Preprocessing:
    """The preprocessing for these training images; mean and deviation from at most 10,000 of them.

    `bit_depth`: with which gray of more than 8 bits was read; None where there was none, then 16 is kept.
    """
    some = np.linspace(0, len(images) - 1, min(len(images), MEASURED_IMAGES)).astype(np.int64)
    total, squares, count = np.zeros(images.shape[0]), np.zeros(images.shape[0]), 0
    for block in np.array_split(some, max(1, len(some) // 500)):
        values = images.read(block).astype(np.float64) / 255
        total += values.sum(axis=(0, 2, 3))
        squares += (values**2).sum(axis=(0, 2, 3))
        count += values.shape[0] * values.shape[2] * values.shape[3]
    mean = total / count
    # A constant channel has no deviation to divide by.
    std = np.sqrt(np.maximum(squares / count - mean**2, 1e-6))
    channels, height, _ = images.shape
    rounded = tuple(mean.round(6).tolist()), tuple(std.round(6).tolist())
    return Preprocessing(height, channels, *rounded, bit_depth or FULL)
