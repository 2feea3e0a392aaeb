"""The arithmetic under all coding rates: determinants of Gram matrices, always in float64."""

from math import inf
from typing import Any

import torch
from torch import Tensor

from sslmlflow.metrics.unlabelled.arrays import Views, matmul, to_float64

SMALLEST = 128  # columns of which a product by blocks is worth it


def check_eps(eps: float) -> None:
    """Raise ValueError unless eps, the distortion itself and not its square, is a positive number."""
    if not (0 < eps < inf and eps * eps > 0):
        raise ValueError(f"eps, the distortion, must be a positive finite number, got {eps}")


def as_given(given: Views, *parts: Tensor) -> tuple[Any, ...]:
    """Scalars as tensors if tensors came in, else as floats."""
    torch_given = isinstance(given if isinstance(given, Tensor) else given[0], Tensor)
    return parts if torch_given else tuple(part.item() for part in parts)


def half_logdet(gram: Tensor, scale: float | Tensor) -> Tensor:
    """1/2 logdet(I + scale gram) of one Gram matrix or a batch; ValueError where it is lost to rounding."""
    gram = to_float64(gram)
    factor, info = torch.linalg.cholesky_ex(torch.eye(gram.shape[-1]).to(gram) + scale * gram)
    value: Tensor = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    if bool(info.any()) or not bool(torch.isfinite(value).all()):
        raise ValueError(
            "the coding rate cannot be computed at this precision: the embeddings are too large for eps; "
            "scale their rows with unit_rows, or give float64"
        )
    return value


def scatter_rate(rows: Tensor, scale: float) -> Tensor:
    """1/2 logdet(I + scale rows^T rows), through the smaller of the two Gram matrices (Sylvester's identity).

    rows: (m, d), or a batch of such.
    """
    m, d = rows.shape[-2:]
    return half_logdet(gram(rows.mT if m < d else rows), scale)


def gram(columns: Tensor) -> Tensor:
    """The inner products (k, k) of the columns of a matrix (m, k); those below the diagonal are not computed twice."""
    k = columns.shape[-1]
    if k < 2 * SMALLEST:
        return matmul(columns.mT, columns)
    left, right = columns[..., : k // 2], columns[..., k // 2 :]
    across = matmul(left.mT, right)
    return torch.cat([torch.cat([gram(left), across], -1), torch.cat([across.mT, gram(right)], -1)], -2)


def rate(rows: Tensor, eps: float) -> Tensor:
    """R of the rows (m, d)."""
    m, d = rows.shape
    return scatter_rate(rows, d / (m * eps * eps))
