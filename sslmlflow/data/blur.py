"""Gaussian blur of a batch in which every image has a sigma of its own."""

import torch
from torch import Tensor


def blur_(planes: Tensor, sigma: Tensor) -> None:
    """Blur images along both axes, mirrored at their edges; the kernel is a tenth of the side, an odd number.

    Args:
        planes: (c, n, side, side) float32, changed in place.
        sigma: (n,) float32, above 0, in pixels.

    Source: Chen et al. 2020 (arXiv 2002.05709), appendix A, "Gaussian blur".
    """
    matrix = _blur_matrix(sigma, planes.shape[-1])
    for plane in planes:
        plane.copy_(matrix @ plane @ matrix.mT)


def kernel_size(side: int) -> int:
    """The odd number of pixels nearest to a tenth of the side, at least 3.

    >>> kernel_size(32), kernel_size(224)
    (3, 23)
    """
    return max(side // 10 // 2 * 2 + 1, 3)


def _blur_matrix(sigma: Tensor, side: int) -> Tensor:
    """Return (n, side, side): row i holds the weights of the pixels in the blurred pixel i; each row sums to 1."""
    reach = kernel_size(side) // 2
    taps = torch.arange(-reach, reach + 1, device=sigma.device)
    weights = (-0.5 * (taps / sigma[:, None]).square()).exp()
    weights = weights / weights.sum(1, keepdim=True)
    pixels = (torch.arange(side, device=sigma.device)[:, None] + taps).abs()
    pixels = pixels.where(pixels < side, 2 * (side - 1) - pixels)
    matrix = torch.zeros(len(sigma), side, side, device=sigma.device)
    places, shares = pixels.expand(len(sigma), -1, -1), weights[:, None, :].expand(-1, side, -1)
    return matrix.scatter_add_(2, places, shares)
