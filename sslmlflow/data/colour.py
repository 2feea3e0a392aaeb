"""Colour operations on a batch in which every image has parameters, and an order of operations, of its own.

The images are held as colour planes, float32 in [0, 1], shape (3, n, pixels): each plane is one contiguous
block, so every step below is a few passes over contiguous memory. All functions work in place.
"""

import torch
from torch import Tensor

# Luma of ITU-R BT.601. The weights sum to 1, so that a grey image is its own luma.
LUMA = (0.299, 0.587, 0.114)

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)  # the numbering of torchvision's ColorJitter


def luma(planes: Tensor) -> Tensor:
    """Return the luma of the planes.

    Args:
        planes: (3, n, pixels), or (1, n, pixels) for grey images, which are their own luma.

    Returns:
        A new tensor (n, pixels).

    >>> luma(torch.ones(3, 1, 2))
    tensor([[1., 1.]])
    """
    if len(planes) == 1:
        return planes[0].clone()
    red, green, blue = planes
    gray: Tensor = red * LUMA[0]
    return gray.add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])


def blend_(planes: Tensor, operation: Tensor, factor: Tensor) -> None:
    """Change the brightness, the contrast or the saturation of each image.

    The three are one formula, ``clamp(factor * x + (1 - factor) * reference, 0, 1)``: the reference is black
    for brightness, the mean luma of the image for contrast and the luma of each pixel for saturation.

    Args:
        planes: (3, n, pixels) or (1, n, pixels), changed in place.
        operation: (n, 1), ``BRIGHTNESS``, ``CONTRAST`` or ``SATURATION`` for each image.
        factor: (n, 1) float32, 1 leaves the image as it is.
    """
    reference = luma(planes)
    rest = 1 - factor
    mean = reference.mean(1, keepdim=True).mul_(rest * (operation == CONTRAST))
    reference.mul_(rest * (operation == SATURATION)).add_(mean)
    torch.addcmul(reference, planes, factor, out=planes)
    planes.clamp_(0, 1)


def shift_hue_(planes: Tensor, turns: Tensor) -> None:
    """Turn the hue of each image, keeping value and saturation of HSV.

    With low, high the extremes of a pixel and c = high - low, hue (in sixths of a turn, red at 0, in [-3, 3])
    has the size ``(high - low + green + blue - red - low) / c`` and the sign of green - blue: this is the usual
    definition by cases in one expression. Back from hue H, the channel whose primary lies at p has the value
    ``low + c * clamp(2 - d, 0, 1)``, where ``d = 3 - ||H - p| - 3|`` is the distance from H to p on the circle.

    Args:
        planes: (3, n, pixels) in [0, 1], changed in place.
        turns: (n, 1) float32, the shift in whole turns of the colour circle, in [-0.5, 0.5].
    """
    red, green, blue = planes
    low = torch.minimum(red, green)
    high = torch.maximum(red, green)
    torch.minimum(low, blue, out=low)
    torch.maximum(high, blue, out=high)
    chroma = high.sub_(low)
    hue = (green - red).add_(blue).sub_(low).add_(chroma)
    hue.div_(chroma.clamp_min(1e-12))  # where chroma is 0, so is the numerator
    hue.copysign_(green - blue).add_(6 * turns)
    hue.sub_((hue / 6).round_(), alpha=6)

    low.sub_(chroma)  # takes off the 1 that is left in each ramp by clamping to [1, 2]
    for plane, primary in zip(planes, (0, 2, -2), strict=True):
        torch.sub(hue, primary, out=plane)
        plane.abs_().sub_(3).abs_().clamp_(1, 2)
        torch.addcmul(low, plane, chroma, out=plane)


def jitter_(planes: Tensor, operations: Tensor, factors: Tensor, counts: list[int]) -> None:
    """Apply brightness, contrast, saturation and hue in an order that differs from image to image.

    The images are sorted by the place of hue in their order. So hue runs on one contiguous block before each
    of the three other operations and one after them, and each of those runs on all images as one formula.

    Args:
        planes: (3, n, pixels) or (1, n, pixels), changed in place; on grey images hue does nothing.
        operations: (n, 3) int64, the order of the operations other than hue.
        factors: (n, 4) float32, column j the factor of operation j.
        counts: The numbers of images in which hue comes first, second, third and last.
    """
    turns = factors[:, HUE, None]
    start = 0
    for place, count in enumerate(counts):
        block = slice(start, start + count)
        start += count
        if len(planes) == 3:
            shift_hue_(planes[:, block], turns[block])
        if place < 3:
            operation = operations[:, place, None]
            blend_(planes, operation, factors.gather(1, operation))


def gray_(planes: Tensor, chosen: Tensor) -> None:
    """Replace the planes (3, n, pixels) or (1, n, pixels) of the chosen images (n,) by their luma, in place."""
    if len(planes) == 3:
        chosen = chosen[:, None].float()
        torch.addcmul(luma(planes).mul_(chosen), planes, 1 - chosen, out=planes)
