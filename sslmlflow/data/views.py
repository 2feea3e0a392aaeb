"""Random views of a whole batch of images at once, each view with random parameters of its own."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sslmlflow.data import colour
from sslmlflow.data.counted import uniforms
from sslmlflow.errors import UserError

CROP_TRIES = 10
CHUNK_PIXELS = 2**18  # views are made in chunks of so many pixels, 256 views of 32 x 32, to stay in the cache
NO_JITTER = 4  # beside the four places of hue in the order of the jitter


@dataclass(frozen=True)
class Augmentation:
    """The augmentations of SimCLR for CIFAR-10 (Chen et al. 2020, arXiv 2002.05709, appendix B.9), no blur.

    Random resized crop, horizontal flip, colour jitter of strength 0.5, random grayscale, in this order.

    Attributes:
        size: Height and width of a view in pixels.
        scale: Range of the area of the crop as a fraction of the image, within (0, 1].
        ratio: Range of width / height of the crop, drawn uniformly in its logarithm.
        jitter: Strengths of brightness, contrast, saturation (each >= 0) and hue (in [0, 0.5] turns).
        jitter_p, gray_p, flip_p: Probabilities.
    """

    size: int
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.4, 0.1)
    jitter_p: float = 0.8
    gray_p: float = 0.2
    flip_p: float = 0.5


class ViewParameters(NamedTuple):
    """What was drawn for n views, one row each, on the CPU.

    Attributes:
        top, left, height, width: (n,) int64, the crop in pixels of the image.
        flip, jitter, gray: (n,) bool, whether the view is mirrored, colour-jittered, made grey.
        order: (n, 4) int64, the operations of the jitter in the order in which they are applied:
            0 brightness, 1 contrast, 2 saturation, 3 hue.
        factors: (n, 4) float32, column j the factor of operation j (hue: the shift in turns).
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


class _Uniforms(NamedTuple):
    """Uniform numbers in [0, 1) for n views, one row each: columns for the crop, the chances, the order, the factors.

    Attributes:
        area, ratio: (n, 10) float64, of the tries of the crop.
        down, across: (n,) float64, where the crop lies.
        chances: (n, 3), of the flip, the jitter and the grayscale.
        order: (n, 4) float64, whose order is that of the jitter's operations.
        factors: (n, 4) float32.
    """

    area: Tensor
    ratio: Tensor
    down: Tensor
    across: Tensor
    chances: Tensor
    order: Tensor
    factors: Tensor


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
    return _parameters(aug, _Uniforms(area, ratio, down, across, chances, order, rand(n, 4)), height, width)


def fixed_parameters(
    aug: Augmentation, places: NDArray[np.int64], height: int, width: int, seed: int, count: int = 2
) -> ViewParameters:
    """The parameters of ``count`` views of n images, each a function of (seed, image, view) alone.

    ``places`` (n,) are the images' numbers in their data set. The distributions are those of `draw_parameters`; of the
    count * n rows, row i is of image i mod n.
    """
    sizes = [CROP_TRIES, CROP_TRIES, 1, 1, 3, 4, 4]
    drawn = np.concatenate([uniforms((seed, view), places, sum(sizes)) for view in range(count)])
    area, ratio, down, across, chances, order, factors = torch.split(torch.from_numpy(drawn), sizes, dim=1)
    numbers = _Uniforms(area, ratio, down[:, 0], across[:, 0], chances, order, factors.float())
    return _parameters(aug, numbers, height, width)


def _parameters(aug: Augmentation, drawn: _Uniforms, height: int, width: int) -> ViewParameters:
    top, left, crop_height, crop_width = _crops(aug, drawn, height, width)
    flip, jitter, gray = (drawn.chances < torch.tensor([aug.flip_p, aug.jitter_p, aug.gray_p])).unbind(1)
    strength = torch.tensor(aug.jitter)
    low = torch.cat([(1 - strength[:3]).clamp_min(0), -strength[3:]])
    high = torch.cat([1 + strength[:3], strength[3:]])
    factors = low + (high - low) * drawn.factors
    return ViewParameters(top, left, crop_height, crop_width, flip, jitter, drawn.order.argsort(1), factors, gray)


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


def make_views(
    images: Tensor,
    aug: Augmentation,
    mean: Tensor,
    std: Tensor,
    generator: torch.Generator,
    count: int = 2,
) -> Tensor:
    """Return ``count`` independent random views of every image.

    Args:
        images: (n, c, h, w) uint8, c = 1 or 3, on any device.
        mean, std: (c,) or (3,), of pixels in [0, 1]: a view is normalised to (view - mean) / std.
        generator: Of the CPU.

    Returns:
        (count, n, 3, size, size) float32 on the device of the images.

    >>> images = torch.zeros(4, 1, 28, 28, dtype=torch.uint8)
    >>> mean, std = torch.tensor([0.5]), torch.tensor([0.5])
    >>> make_views(images, Augmentation(size=32), mean, std, torch.Generator().manual_seed(0)).shape
    torch.Size([2, 4, 3, 32, 32])
    """
    n, _, height, width = images.shape
    parameters = draw_parameters(aug, count * n, height, width, generator)
    return apply(images, parameters, aug, mean, std).view(count, n, 3, aug.size, aug.size)


def fixed_views(
    images: Tensor,
    aug: Augmentation,
    mean: Tensor,
    std: Tensor,
    places: NDArray[np.int64],
    seed: int,
    count: int = 2,
) -> Tensor:
    """Return ``count`` views of every image that are a function of (seed, image, view) alone.

    Args and Returns as of `make_views`, but for ``places`` (n,): the images' numbers in their data set.
    """
    n, _, height, width = images.shape
    parameters = fixed_parameters(aug, places, height, width, seed, count)
    return apply(images, parameters, aug, mean, std).view(count, n, 3, aug.size, aug.size)


def apply(images: Tensor, parameters: ViewParameters, aug: Augmentation, mean: Tensor, std: Tensor) -> Tensor:
    """Return the views that the parameters describe.

    The values between the operations are kept as floats, where a pipeline on 8-bit images rounds them. The
    crop is resized bilinearly with antialiasing.

    Args:
        images: (n, c, h, w) uint8, c = 1 or 3, on any device.
        parameters: Of k * n views; view i is one of image i mod n.
        mean, std: (c,) or (3,), of pixels in [0, 1].

    Returns:
        (k * n, 3, size, size) float32, normalised, on the device of the images. Grey images (c = 1), on which
        saturation, hue and grayscale do nothing, are repeated to three channels.

    Raises:
        UserError: The images are not uint8 or have neither 1 nor 3 channels.
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
        raise UserError(
            f"Views are made of uint8 images of shape (n, 1 or 3, height, width), but these are {images.dtype} "
            f"of shape {tuple(images.shape)}. Convert the images first, for example to RGB."
        )
    mean, std = (v.to(images.device, torch.float32).expand(3).reshape(3, 1, 1) for v in (mean, std))
    total = len(parameters.top)
    sources = torch.arange(total) % len(images)
    views = torch.empty(total, 3, aug.size, aug.size, device=images.device)
    step = max(1, CHUNK_PIXELS // aug.size**2)
    for chunk in (slice(start, start + step) for start in range(0, total, step)):
        part = ViewParameters(*(p[chunk] for p in parameters))
        torch.sub(_augment(images, sources[chunk], part, aug.size), mean, out=views[chunk])
        views[chunk].div_(std)
    return views


def _augment(images: Tensor, sources: Tensor, parameters: ViewParameters, size: int) -> Tensor:
    """Return the views (n, c, size, size) in [0, 1] of the images ``sources`` (n,)."""
    device = images.device
    place_of_hue = (parameters.order == colour.HUE).int().argmax(1)
    group = place_of_hue.where(parameters.jitter, NO_JITTER)
    rows = group.argsort(stable=True)
    *counts, _ = group.bincount(minlength=NO_JITTER + 1).tolist()
    jittered = slice(0, sum(counts))
    drawn = ViewParameters(*(p[rows] for p in parameters))
    operations = drawn.order[drawn.order != colour.HUE].view(-1, 3)
    # All that has to be known on the host is known by now: from here on nothing waits for the device.
    sources, places, operations = (
        t.to(device, non_blocking=True) for t in (sources[rows], rows.argsort(), operations[jittered])
    )
    drawn = ViewParameters(*(p.to(device, non_blocking=True) for p in drawn))

    planes = _crop(images.index_select(0, sources), drawn, size)
    colour.jitter_(planes[:, jittered], operations, drawn.factors[jittered], counts)
    colour.gray_(planes, drawn.gray)
    return planes.transpose(0, 1).index_select(0, places).view(len(rows), -1, size, size)


def _crop(images: Tensor, drawn: ViewParameters, size: int) -> Tensor:
    """Crop, resize and mirror uint8 images (n, c, h, w) into planes (c, n, size * size) in [0, 1].

    Either axis is a linear map of its own, so that this is two products of matrices for each plane.
    """
    n, channels, height, width = images.shape
    outputs = torch.arange(size, device=images.device)
    mirrored = outputs.flip(0).where(drawn.flip[:, None], outputs)
    down = _resize_matrix(drawn.top, drawn.height, height, outputs)
    across = _resize_matrix(drawn.left, drawn.width, width, mirrored).div_(255).transpose(1, 2)
    planes = torch.empty(channels, n, size, size, device=images.device)
    for plane, channel in zip(planes, images.unbind(1), strict=True):
        torch.bmm(down, channel.float().bmm(across), out=plane)
    return planes.flatten(2)


def _resize_matrix(start: Tensor, extent: Tensor, length: int, outputs: Tensor) -> Tensor:
    """Return (n, size, length): row i holds the weights of the pixels in pixel ``outputs[i]`` of the crop.

    Bilinear interpolation is a triangle around the centre of the resized pixel; where the crop shrinks, the
    triangle is widened by the same factor (antialiasing). Weights outside the crop are 0, each row sums to 1.

    >>> _resize_matrix(torch.tensor([1]), torch.tensor([2]), 4, torch.arange(1))
    tensor([[[0.0000, 0.5000, 0.5000, 0.0000]]])
    """
    start, extent = start[:, None], extent[:, None]
    pixels = torch.arange(length, device=start.device)
    inside = (pixels >= start) & (pixels < start + extent)
    step = extent / outputs.shape[-1]
    centres = start + step * (outputs + 0.5) - 0.5
    slope = -1 / step.clamp_min(1)
    weights = (pixels - centres[:, :, None]).abs_().mul_(slope[:, :, None]).add_(1).clamp_min_(0)
    weights.mul_(inside[:, None, :])
    return weights.div_(weights.sum(2, keepdim=True))
