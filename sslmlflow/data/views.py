"""Random views of a whole batch of images at once, each view with random parameters of its own."""

from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sslmlflow.data import colour
from sslmlflow.data.augmentation import Augmentation, Views
from sslmlflow.data.blur import blur_
from sslmlflow.data.view_parameters import ViewParameters, draw_parameters, fixed_parameters
from sslmlflow.errors import UserError

CHUNK_PIXELS = 2**18  # views are made in chunks of so many pixels, 256 views of 32 x 32, to stay in the cache
NO_JITTER = 4  # beside the four places of hue in the order of the jitter


def make_crops(
    images: Tensor,
    views: Views,
    mean: Tensor,
    std: Tensor,
    generator: torch.Generator,
    rows: slice = slice(None),
    of: int | None = None,
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Return the views of every image by their size, and where they were taken.

    Args:
        images: (n, c, h, w) uint8, c = 1 or 3, on any device.
        views: In groups; those of one size follow each other.
        mean, std: (c,) or (3,), of pixels in [0, 1]: a view is normalised to (view - mean) / std.
        generator: Of the CPU.
        rows: Which of `of` images these are, where they are some of a batch: their views are those of the whole one.

    Returns:
        Crops (k, n, 3, size, size), float32 on the device of the images, a tensor per size; and the boxes (k, n, 4) of
        each, see `boxes`.

    >>> from sslmlflow.data.augmentation import CropGroup
    >>> images = torch.zeros(4, 1, 28, 28, dtype=torch.uint8)
    >>> views = CropGroup(2, Augmentation(size=32)), CropGroup(6, Augmentation(size=16))
    >>> mean, std = torch.tensor([0.5]), torch.tensor([0.5])
    >>> crops, _ = make_crops(images, views, mean, std, torch.Generator().manual_seed(0))
    >>> [tuple(of_a_size.shape) for of_a_size in crops]
    [(2, 4, 3, 32, 32), (6, 4, 3, 16, 16)]
    """
    n, _, height, width = images.shape
    total = n if of is None else of
    by_size = []
    for size, groups in groupby(views, key=lambda group: group.size):
        made, taken = [], []
        for group in groups:
            count, aug = group.count, group.augmentation
            drawn = draw_parameters(aug, count * total, height, width, generator)
            parameters = ViewParameters(*(p.view(count, total, *p.shape[1:])[:, rows].flatten(0, 1) for p in drawn))
            made.append(apply(images, parameters, aug, mean, std).view(count, n, 3, size, size))
            taken.append(boxes(parameters).view(count, n, 4))
        by_size.append([torch.cat(part) if len(part) > 1 else part[0] for part in (made, taken)])
    crops, places = zip(*by_size, strict=True)
    return crops, tuple(box.to(images.device, non_blocking=True) for box in places)


def boxes(parameters: ViewParameters) -> Tensor:
    """Where views were taken: left, top, right and bottom edge (n, 4) in pixels of the image, float32.

    The left edge is the view's own: in a mirrored view it lies right of the right one. A view must not be turned.
    """
    left, top = parameters.left.float(), parameters.top.float()
    right, bottom = left + parameters.width, top + parameters.height
    flip, vflip = parameters.flip, parameters.vflip
    return torch.stack(
        [right.where(flip, left), bottom.where(vflip, top), left.where(flip, right), top.where(vflip, bottom)], dim=1
    )


def fixed_crops(
    images: Tensor,
    aug: Augmentation,
    mean: Tensor,
    std: Tensor,
    places: NDArray[np.int64],
    seed: int,
    count: int = 2,
) -> tuple[Tensor, Tensor]:
    """Return ``count`` views of every image that are a function of (seed, image, view) alone, and their `boxes`.

    Args as of `make_crops`, but for ``places`` (n,): the images' numbers in their data set.

    Returns:
        Views (count, n, 3, size, size) and boxes (count, n, 4), on the device of the images.
    """
    n, _, height, width = images.shape
    parameters = fixed_parameters(aug, places, height, width, seed, count)
    views = apply(images, parameters, aug, mean, std).view(count, n, 3, aug.size, aug.size)
    return views, boxes(parameters).view(count, n, 4).to(images.device)


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
    _turn_(planes.view(*planes.shape[:2], size, size), parameters.turns[rows])
    colour.jitter_(planes[:, jittered], operations, drawn.factors[jittered], counts)
    colour.gray_(planes, drawn.gray)
    _blur_(planes.view(*planes.shape[:2], size, size), parameters.sigma[rows])
    _solarise_(planes, parameters.solarise[rows])
    return planes.transpose(0, 1).index_select(0, places).view(len(rows), -1, size, size)


def _turn_(planes: Tensor, turns: Tensor) -> None:
    """Turn planes (c, n, size, size) counterclockwise by quarters (n,), which are known on the host."""
    for quarters in (1, 2, 3):
        if len(which := (turns == quarters).nonzero()[:, 0].to(planes.device, non_blocking=True)):
            planes[:, which] = planes[:, which].rot90(quarters, (2, 3))


def _blur_(planes: Tensor, sigma: Tensor) -> None:
    """Blur those of the planes (c, n, size, size) whose sigma (n,), on the host, is above 0."""
    which = sigma.nonzero()[:, 0]
    if len(which):
        sigma, which = (t.to(planes.device, non_blocking=True) for t in (sigma[which], which))
        some = planes[:, which]
        blur_(some, sigma)
        planes[:, which] = some


def _solarise_(planes: Tensor, which: Tensor) -> None:
    """Invert what is above one half in those planes (c, n, pixels) that are solarised (n,), as the host knows."""
    rows = which.nonzero()[:, 0]
    if len(rows):
        rows = rows.to(planes.device, non_blocking=True)
        some = planes[:, rows]
        planes[:, rows] = torch.where(some >= 0.5, 1 - some, some)


def _crop(images: Tensor, drawn: ViewParameters, size: int) -> Tensor:
    """Crop, resize and flip uint8 images (n, c, h, w) into planes (c, n, size * size) in [0, 1].

    Either axis is a linear map of its own, so that this is two products of matrices for each plane.
    """
    n, channels, height, width = images.shape
    outputs = torch.arange(size, device=images.device)
    mirrored = outputs.flip(0).where(drawn.flip[:, None], outputs)
    upended = outputs.flip(0).where(drawn.vflip[:, None], outputs)
    down = _resize_matrix(drawn.top, drawn.height, height, upended)
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
