"""What is drawn at random for views: one row of parameters a view."""

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sslmlflow.data.augmentation import Augmentation
from sslmlflow.data.counted import uniforms

CROP_TRIES = 10
SIGMAS = (0.1, 2.0)  # pixels of the view


class ViewParameters(NamedTuple):
    """What was drawn for n views, one row each, on the CPU.

    Attributes:
        top, left, height, width: (n,) int64, the crop in pixels of the image.
        flip, jitter, gray: (n,) bool, whether the view is mirrored, colour-jittered, made grey.
        order: (n, 4) int64, the operations of the jitter in the order in which they are applied:
            0 brightness, 1 contrast, 2 saturation, 3 hue.
        factors: (n, 4) float32, column j the factor of operation j (hue: the shift in turns).
        vflip, solarise: (n,) bool, whether the view is upside down, solarised.
        turns: (n,) int64, quarter turns, counterclockwise.
        sigma: (n,) float32, of the blur in pixels of the view, 0 for none.
    """

    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor
    flip: Tensor
    jitter: Tensor
    order: Tensor
    factors: Tensor
    gray: Tensor
    vflip: Tensor
    turns: Tensor
    sigma: Tensor
    solarise: Tensor


class _Uniforms(NamedTuple):
    """Uniform numbers in [0, 1) for n views, one row each: columns for the crop, the chances, the order, the factors.

    Attributes:
        area, ratio: (n, 10) float64, of the tries of the crop.
        down, across: (n,) float64, where the crop lies.
        chances: (n, 3), of the flip, the jitter and the grayscale.
        order: (n, 4) float64, whose order is that of the jitter's operations.
        factors: (n, 4) float32.
        more: (n, 6) float32, of the vertical flip, the turn and its size, the blur and its sigma, the solarisation;
            None where none of these is on. It is drawn last: the other parts are drawn as they were without it.
    """

    area: Tensor
    ratio: Tensor
    down: Tensor
    across: Tensor
    chances: Tensor
    order: Tensor
    factors: Tensor
    more: Tensor | None


def draw_parameters(aug: Augmentation, n: int, height: int, width: int, generator: torch.Generator) -> ViewParameters:
    """Draw the parameters of n views of images of height x width pixels.

    The distributions are those of torchvision's RandomResizedCrop, RandomHorizontalFlip, ColorJitter and
    RandomGrayscale. The generator is one of the CPU; equal seeds give equal parameters on every device.
    """

    def rand(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=dtype)

    area, ratio, down, across = (
        rand(*shape, dtype=torch.float64) for shape in ((n, CROP_TRIES), (n, CROP_TRIES), (n,), (n,))
    )
    chances = rand(3, n).T
    order = rand(n, 4, dtype=torch.float64)
    factors, more = rand(n, 4), rand(n, 6) if aug.draws_more else None
    return _parameters(aug, _Uniforms(area, ratio, down, across, chances, order, factors, more), height, width)


def fixed_parameters(
    aug: Augmentation, places: NDArray[np.int64], height: int, width: int, seed: int, count: int = 2
) -> ViewParameters:
    """The parameters of ``count`` views of n images, each a function of (seed, image, view) alone.

    ``places`` (n,) are the images' numbers in their data set. The distributions are those of `draw_parameters`; of the
    count * n rows, row i is of image i mod n.
    """
    sizes = [CROP_TRIES, CROP_TRIES, 1, 1, 3, 4, 4, *([6] if aug.draws_more else [])]
    drawn = np.concatenate([uniforms((seed, view), places, sum(sizes)) for view in range(count)])
    area, ratio, down, across, chances, order, factors, *more = torch.split(torch.from_numpy(drawn), sizes, dim=1)
    extra = more[0].float() if more else None
    numbers = _Uniforms(area, ratio, down[:, 0], across[:, 0], chances, order, factors.float(), extra)
    return _parameters(aug, numbers, height, width)


def _parameters(aug: Augmentation, drawn: _Uniforms, height: int, width: int) -> ViewParameters:
    top, left, crop_height, crop_width = _crops(aug, drawn, height, width)
    flip, jitter, gray = (drawn.chances < torch.tensor([aug.flip_p, aug.jitter_p, aug.gray_p])).unbind(1)
    strength = torch.tensor(aug.jitter)
    low = torch.cat([(1 - strength[:3]).clamp_min(0), -strength[3:]])
    high = torch.cat([1 + strength[:3], strength[3:]])
    factors = low + (high - low) * drawn.factors
    crop = top, left, crop_height, crop_width
    return ViewParameters(*crop, flip, jitter, drawn.order.argsort(1), factors, gray, *_more(aug, drawn, len(top)))


def _more(aug: Augmentation, drawn: _Uniforms, n: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Vertical flip, quarter turns, sigma of the blur and solarisation of n views."""
    if drawn.more is None:
        never = torch.zeros(n, dtype=torch.bool)
        return never, torch.zeros(n, dtype=torch.int64), torch.zeros(n), never
    vflip, turned, turns, blurred, sigma, solarised = drawn.more.unbind(1)
    low, high = SIGMAS
    return (
        vflip < aug.vflip_p,
        (4 * turns).floor().long() * (turned < aug.rotate90_p),
        (low + (high - low) * sigma) * (blurred < aug.blur_p),
        solarised < aug.solarise_p,
    )


def _crops(aug: Augmentation, drawn: _Uniforms, height: int, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return top, left, height and width of n crops, each (n,) int64: the first of ten tries that fits."""
    area = height * width * (aug.scale[0] + (aug.scale[1] - aug.scale[0]) * drawn.area)
    low, high = math.log(aug.ratio[0]), math.log(aug.ratio[1])
    ratio = torch.exp(low + (high - low) * drawn.ratio)
    heights, widths = (area / ratio).sqrt().round(), (area * ratio).sqrt().round()
    fits = (heights > 0) & (heights <= height) & (widths > 0) & (widths <= width)

    first = fits.int().argmax(1, keepdim=True)
    fallback_height, fallback_width = _central_crop(aug, height, width)
    any_fits = fits.any(1)
    crop_height = heights.gather(1, first)[:, 0].where(any_fits, fallback_height)
    crop_width = widths.gather(1, first)[:, 0].where(any_fits, fallback_width)
    top = (drawn.down * (height - crop_height + 1)).floor()
    left = (drawn.across * (width - crop_width + 1)).floor()
    top = top.where(any_fits, (height - fallback_height) // 2)
    left = left.where(any_fits, (width - fallback_width) // 2)
    return top.long(), left.long(), crop_height.long(), crop_width.long()


def _central_crop(aug: Augmentation, height: int, width: int) -> tuple[int, int]:
    """Return height and width of the largest crop whose ratio is within the range, taken when no try fits."""
    if width / height < aug.ratio[0]:
        return min(round(width / aug.ratio[0]), height), width
    if width / height > aug.ratio[1]:
        return height, min(round(height * aug.ratio[1]), width)
    return height, width
