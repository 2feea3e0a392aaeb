"""A small matrix with the singular values of a tall one, from blocks of its rows: nothing of its size is made."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from sslmlflow.metrics.unlabelled.arrays import Array, as_matrix, power_of_two, to_float64

ROWS = 8192  # of a block, at least


class Triangle(NamedTuple):
    """`R'R = Z'Z` of embeddings divided by `scale`, a power of two (0: all zero), and less their `mean` if asked."""

    R: Tensor
    scale: float
    mean: Tensor


def triangle(Z: Array, centre: bool = False) -> Triangle:
    """Fold Z (n, d), in float64, into a matrix of d columns; up to 8,192 or 4 d rows stay as they are.

    The largest magnitude is brought into [1, 2), so that squares stay in range. Raises ValueError for misshapen or
    non-finite Z.
    """
    z = as_matrix(Z).detach()
    scale = power_of_two(z)
    blocks = [slice(start, start + _rows(z)) for start in range(0, len(z), _rows(z))]
    mean = z.new_zeros(z.shape[1], dtype=torch.float64, device="cpu" if z.device.type == "mps" else z.device)
    if centre:
        for rows in blocks:
            mean += (to_float64(z[rows]) / (scale or 1.0)).sum(0) / len(z)
    return Triangle(folded(to_float64(z[rows]) / (scale or 1.0) - mean for rows in blocks), scale, mean)


def folded(blocks: Iterable[Tensor]) -> Tensor:
    """R of the QR decomposition of the blocks (rows, d) one below the other; one block alone stays as it is."""
    found: Tensor | None = None
    for block in blocks:
        found = block if found is None else torch.linalg.qr(torch.cat([found, block]), mode="r").R
    assert found is not None, "there is no block"
    return found


def image_blocks(views: Tensor) -> Iterator[Tensor]:
    """Views (v, n, d) as float64 blocks of images."""
    rows = max(1, _rows(views) // len(views))
    for start in range(0, views.shape[1], rows):
        yield to_float64(views[:, start : start + rows])


def _rows(z: Tensor) -> int:
    return max(ROWS, 4 * z.shape[-1])
