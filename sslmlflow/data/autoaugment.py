"""AutoAugment's policy for CIFAR-10 on a batch, each image with a sub-policy of its own."""

import math
from collections import defaultdict
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms import AutoAugment, AutoAugmentPolicy
from torchvision.transforms import functional as tv
from torchvision.transforms.v2.functional import equalize  # same values as tv.equalize, whole batch at once

from sslmlflow.data.counted import uniforms
from sslmlflow.errors import UserError

# 25 pairs of operations, each operation (name, probability, level 0 to 9 or None).
POLICIES = AutoAugment(AutoAugmentPolicy.CIFAR10).policies
LEVELS = 10

# What an operation of signed magnitude m does to uint8 images (n, 1 or 3, h, w).
OPERATIONS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "ShearX": lambda x, m: tv.affine(x, 0, [0, 0], 1, [math.degrees(math.atan(m)), 0], center=[0, 0]),
    "ShearY": lambda x, m: tv.affine(x, 0, [0, 0], 1, [0, math.degrees(math.atan(m))], center=[0, 0]),
    "TranslateX": lambda x, m: tv.affine(x, 0, [int(m), 0], 1, [0, 0]),
    "TranslateY": lambda x, m: tv.affine(x, 0, [0, int(m)], 1, [0, 0]),
    "Rotate": lambda x, m: tv.rotate(x, m),
    "Brightness": lambda x, m: tv.adjust_brightness(x, 1 + m),
    "Color": lambda x, m: tv.adjust_saturation(x, 1 + m),
    "Contrast": lambda x, m: tv.adjust_contrast(x, 1 + m),
    "Sharpness": lambda x, m: tv.adjust_sharpness(x, 1 + m),
    "Posterize": lambda x, m: tv.posterize(x, int(m)),
    "Solarize": lambda x, m: tv.solarize(x, m),
    "AutoContrast": lambda x, _: tv.autocontrast(x),
    "Equalize": lambda x, _: equalize(x),
    "Invert": lambda x, _: tv.invert(x),
}


class Draws(NamedTuple):
    """What was drawn for n images, on the CPU.

    Attributes:
        policy: (n,) int64, the sub-policy, an index into ``POLICIES``.
        chance: (n, 2) float64 in [0, 1): an operation is applied where this is at most its probability.
        sign: (n, 2) int64, 0 makes the magnitude of an operation that has a direction negative.
    """

    policy: Tensor
    chance: Tensor
    sign: Tensor


def draw(seed: int, epoch: int, places: NDArray[np.int64]) -> Draws:
    """Draw for each image a sub-policy, and for its two operations the chance and the sign.

    `places` (n,) are the images' numbers in their data set; the draws are a function of (seed, epoch, image) alone.
    """
    drawn = torch.from_numpy(uniforms((seed, epoch), places, 5))
    return Draws((drawn[:, 0] * len(POLICIES)).long(), drawn[:, 1:3], (drawn[:, 3:] * 2).long())


def apply(images: Tensor, draws: Draws) -> Tensor:
    """Return the images, each changed by the sub-policy of AutoAugment for CIFAR-10 that was drawn for it.

    The policy is that of Cubuk et al. 2018 (arXiv 1805.09501, appendix, table 7), with the magnitudes, the
    nearest-pixel interpolation and the black margins of torchvision. Each operation runs once on all images that
    share it.

    Args:
        images: (n, 1 or 3, h, w) uint8 on any device; on grey images changes of saturation do nothing.

    Returns:
        A new tensor of the same shape and type.

    Raises:
        UserError: The images are not uint8 or have neither 1 nor 3 channels.

    >>> images = torch.zeros(4, 3, 32, 32, dtype=torch.uint8)
    >>> apply(images, draw(seed=0, epoch=0, places=np.arange(4))).shape
    torch.Size([4, 3, 32, 32])
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
        raise UserError(
            f"AutoAugment takes uint8 images of shape (n, 1 or 3, height, width), but these are {images.dtype} "
            f"of shape {tuple(images.shape)}. Convert the images first, for example to RGB."
        )
    height, width = images.shape[-2:]
    images = images.clone()
    for step in range(2):
        sharing: dict[tuple[str, float], list[int]] = defaultdict(list)
        columns = (draws.policy, draws.chance[:, step], draws.sign[:, step])
        for i, (policy, chance, sign) in enumerate(zip(*(c.tolist() for c in columns), strict=True)):
            name, probability, level = POLICIES[policy][step]
            if chance <= probability:
                sharing[name, signed_magnitude(name, level, sign, height, width)].append(i)
        for (name, magnitude), members in sharing.items():
            rows = torch.tensor(members).to(images.device, non_blocking=True)
            images.index_copy_(0, rows, OPERATIONS[name](images.index_select(0, rows), magnitude))
    return images


def signed_magnitude(name: str, level: int | None, sign: int, height: int, width: int) -> float:
    """Return the magnitude of an operation at a level from 0 to 9, as torchvision scales it.

    Shears are slopes, translations pixels, rotations degrees, changes of brightness, colour, contrast and
    sharpness differences from 1; posterize counts the bits kept, solarize is a threshold from 255 down to 0.

    >>> signed_magnitude("Rotate", 9, 0, 32, 32)
    -30.0
    """
    if level is None:
        return 0.0
    if name == "Posterize":
        return float(8 - round(level * 4 / (LEVELS - 1)))
    if name == "Solarize":
        return _at(level, 255, 0)
    largest = {"ShearX": 0.3, "ShearY": 0.3, "Rotate": 30.0}
    largest |= {"TranslateX": 150 / 331 * width, "TranslateY": 150 / 331 * height}
    magnitude = _at(level, 0, largest.get(name, 0.9))
    return magnitude if sign else -magnitude


@lru_cache
def _at(level: int, start: float, end: float) -> float:
    """Return the value at a level between start (level 0) and end (level 9), in single precision."""
    return float(torch.linspace(start, end, LEVELS)[level])
