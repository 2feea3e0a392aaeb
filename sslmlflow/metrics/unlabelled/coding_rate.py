"""Coding rate and coding rate reduction: the room embeddings take, less the room the views of one image take.

`R(Z) = 1/2 logdet(I + d / (m eps^2) Z^T Z)` is the rate, in nats per sample, of coding the m rows of Z (width d)
up to the distortion eps (Yu et al. 2020, arXiv 2006.08558, section 2.1). These are second moments about the
origin: nothing here centres or normalises, so put rows on the unit sphere with `unit_rows` first. R grows without
bound with the scale of Z, and with m while m is small: compare values of equal n, d, eps and number of views only.

Every function takes NumPy or torch, float32 or float64. NumPy in gives Python floats; torch in gives float64
scalars on the same device, differentiable. Products of float32 are summed in float32, determinants are always
taken in float64; where eps is small (0.01) and the rank low, float32 costs digits: give float64. Every function
raises ValueError for empty, misshapen or non-finite input, for eps <= 0, and where a determinant is lost to rounding
(un-normalised embeddings of very large norm).
"""

from collections.abc import Sequence
from math import log, nan
from typing import Any, Generic, NamedTuple, TypeVar, overload

import torch
from numpy.typing import NDArray
from torch import Tensor

from sslmlflow.metrics.unlabelled.arrays import (
    Array,
    Views,
    as_matrix,
    as_tensor,
    as_views,
    matmul,
    power_of_two,
    to_float64,
)
from sslmlflow.metrics.unlabelled.determinants import as_given, check_eps, gram, half_logdet, rate, scatter_rate
from sslmlflow.metrics.unlabelled.shifts import fixed_shifts, mismatches
from sslmlflow.metrics.unlabelled.soft_rate import SoftRates, coding_rate_reduction_soft

__all__ = [
    "AdjustedMean",
    "AdjustedRates",
    "PairRates",
    "PooledRates",
    "SoftRates",
    "adjusted_mean_and_resolution",
    "coding_rate",
    "coding_rate_reduction_adjusted",
    "coding_rate_reduction_pairs",
    "coding_rate_reduction_pooled",
    "coding_rate_reduction_soft",
    "unit_rows",
]

BLOCK = 4096  # images
Scalar = TypeVar("Scalar", float, Tensor)
TorchViews = Sequence[Tensor] | Tensor
NumpyViews = Sequence[NDArray[Any]] | NDArray[Any]


class PairRates(NamedTuple, Generic[Scalar]):
    """`dR = R - Rc`; `U = R / R_max` is the uniformity and A the alignment, both within [0, 1] of exact unit rows.

    Norms may be off by the thousandth that low precision costs, U and A then by about as much.
    """

    R: Scalar
    Rc: Scalar
    dR: Scalar  # noqa: N815
    R_max: float
    U: Scalar
    A: Scalar


class PooledRates(NamedTuple, Generic[Scalar]):
    """`dR = R - R_within`."""

    R: Scalar
    R_within: Scalar
    dR: Scalar  # noqa: N815


class AdjustedRates(NamedTuple, Generic[Scalar]):
    """`dR = R_shuffled - R_within`."""

    R_shuffled: Scalar
    R_within: Scalar
    dR: Scalar  # noqa: N815


class AdjustedMean(NamedTuple, Generic[Scalar]):
    """The mean of the adjusted dR over three shifts, and the largest less the smallest of the three."""

    mean: Scalar
    resolution: Scalar


@overload
def unit_rows(Z: Tensor) -> Tensor: ...
@overload
def unit_rows(Z: NDArray[Any]) -> NDArray[Any]: ...
def unit_rows(Z: Array) -> Array:
    """Scale every row (last axis, any leading shape) to Euclidean norm 1: `z / max(||z||, 1e-12)`.

    A row of zeros stays zero. Large values do not overflow.

    >>> import numpy as np
    >>> unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.6, 0.8], [0.0, 0.0]]
    """
    z = as_tensor(Z)
    if z.ndim == 0 or 0 in z.shape:
        raise ValueError(f"Z must have at least one row and one feature, got shape {tuple(z.shape)}")
    # Dividing by the largest entry first keeps the squares within range; the result does not depend on it.
    largest = torch.maximum(z.detach().amax(-1, keepdim=True), -z.detach().amin(-1, keepdim=True)).clamp_min(1e-12)
    scaled = z / largest
    norm = torch.linalg.vector_norm(scaled, dim=-1, keepdim=True)
    least = torch.maximum(norm, 1e-12 / largest)
    unit = scaled / least if scaled.requires_grad else scaled.div_(least)
    return unit if isinstance(Z, Tensor) else unit.numpy()


def directions(z: Tensor) -> Tensor:
    """Scale every row to norm 1, whatever the scale of the whole; rows of zeros stay zero.

    Embeddings of an untrained EfficientNet are about 1e-14: as they are, `unit_rows` would leave them near zero.
    """
    scale = power_of_two(z.detach()) if z.numel() else 1.0
    return unit_rows(z / scale if 0 < scale < 1 else z)  # larger ones need no copy


@overload
def coding_rate(Z: Tensor, eps: float = 0.5) -> Tensor: ...
@overload
def coding_rate(Z: NDArray[Any], eps: float = 0.5) -> float: ...
def coding_rate(Z: Array, eps: float = 0.5) -> Any:
    """Coding rate R of the rows of Z (m, d), in nats: 0 for zeros, at most `R_max` for unit rows.

    `R_max = r/2 log(1 + d / (r eps^2))` with `r = min(m, d)`. Source: arXiv 2006.08558, section 2.1.

    >>> import numpy as np
    >>> round(coding_rate(np.eye(2), eps=1.0), 6)  # log 2, the most that two unit rows can have
    0.693147
    """
    check_eps(eps)
    (found,) = as_given(Z, rate(as_matrix(Z), eps))
    return found


@overload
def coding_rate_reduction_pairs(views: TorchViews, eps: float = 0.5) -> PairRates[Tensor]: ...
@overload
def coding_rate_reduction_pairs(views: NumpyViews, eps: float = 0.5) -> PairRates[float]: ...
def coding_rate_reduction_pairs(views: Views, eps: float = 0.5) -> Any:
    """Coding rate reduction with one class per image, its v views: `dR = R(all rows) - mean_i R(views of i)`.

    views: v arrays (n, d), row i of each from image i, or one (v, n, d) array. Unit rows give
    `0 <= dR <= R <= R_max`, and Rc between `1/2 log(1 + d/eps^2)` (all views of an image equal) and
    `s/2 log(1 + d/(s eps^2))`, `s = min(v, d)` (views orthogonal, the least aligned a Gram matrix of unit diagonal
    can be); `A = (upper - Rc) / (upper - lower)`. U and A are nan unless all rows have norm 1, and A is nan
    where the bounds meet (one view, or d = 1). dR mostly measures spread: independent noise scores near the top.

    Source: Qiang et al., "On the Generalization and Causal Explanation in Self-Supervised Learning"; the rate
    reduction of arXiv 2006.08558, section 2.2, with every image a class of its own.
    """
    check_eps(eps)
    z = as_views(views)
    v, n, d = z.shape
    rank = min(v * n, d)
    R_max = rank / 2 * log(1 + d / (rank * eps * eps))
    R = rate(z.flatten(0, 1), eps)
    # By blocks: float64 of all views at once would be twice what was given.
    blocks = (to_float64(block).transpose(0, 1) for block in torch.split(z, BLOCK, 1))
    grams = torch.cat([matmul(rows, rows.mT) for rows in blocks])
    Rc = half_logdet(grams, d / (v * eps * eps)).mean()
    s = min(v, d)
    lower, upper = 0.5 * log(1 + d / (eps * eps)), s / 2 * log(1 + d / (s * eps * eps))
    unit = bool((grams.detach().diagonal(dim1=-2, dim2=-1) - 1).abs().max() < 1e-3)
    U = R / R_max if unit else torch.full_like(R, nan)
    A = (upper - Rc) / (upper - lower) if unit and s > 1 else torch.full_like(R, nan)
    R, Rc, dR, U, A = as_given(views, R, Rc, R - Rc, U, A)
    return PairRates(R, Rc, dR, R_max, U, A)


@overload
def coding_rate_reduction_pooled(views: TorchViews, eps: float = 0.5) -> PooledRates[Tensor]: ...
@overload
def coding_rate_reduction_pooled(views: NumpyViews, eps: float = 0.5) -> PooledRates[float]: ...
def coding_rate_reduction_pooled(views: Views, eps: float = 0.5) -> Any:
    """Rate of all rows less the rate of the scatter within images, pooled over images, in nats.

    `W = 1/(n(v-1)) sum over images and views of (z - mean of its image)(...)^T` and
    `R_within = 1/2 logdet(I + d/eps^2 W)`. views as in `coding_rate_reduction_pairs`, at least two. Identical views
    give R. Independent noise does not give 0 but about `d^2/(8n)`: use the adjusted form to compare with nothing.

    Source: this project's variant of the reduction, pooling the classes as in linear discriminant analysis.
    """
    check_eps(eps)
    z = _at_least_two(as_views(views))
    R, R_within = rate(z.flatten(0, 1), eps), _rates_within(z, eps, (0,))[0]
    return PooledRates(*as_given(views, R, R_within, R - R_within))


@overload
def coding_rate_reduction_adjusted(views: TorchViews, eps: float = 0.5, shift: int = 1) -> AdjustedRates[Tensor]: ...
@overload
def coding_rate_reduction_adjusted(views: NumpyViews, eps: float = 0.5, shift: int = 1) -> AdjustedRates[float]: ...
def coding_rate_reduction_adjusted(views: Views, eps: float = 0.5, shift: int = 1) -> Any:
    """Rate of the scatter within mismatched images less that within true images, in nats; about 0 for pure noise.

    The mismatched images come from moving view k cyclically by `k * shift` rows. Both rates have the same degrees
    of freedom and the same centring, so what they share cancels; the difference may be slightly negative. views as
    in `coding_rate_reduction_pairs`, at least two. Raises ValueError when the shift leaves two views matched.

    Source: this project's variant of the reduction.
    """
    check_eps(eps)
    z = _at_least_two(as_views(views))
    if not mismatches(shift, *z.shape[:2]):
        raise ValueError(f"a shift of {shift} leaves views of one image together among {z.shape[1]} images")
    R_shuffled, R_within = _rates_within(z, eps, (shift, 0))
    return AdjustedRates(*as_given(views, R_shuffled, R_within, R_shuffled - R_within))


@overload
def adjusted_mean_and_resolution(views: TorchViews, eps: float = 0.5) -> AdjustedMean[Tensor]: ...
@overload
def adjusted_mean_and_resolution(views: NumpyViews, eps: float = 0.5) -> AdjustedMean[float]: ...
def adjusted_mean_and_resolution(views: Views, eps: float = 0.5) -> Any:
    """Mean of the adjusted reduction over the three shifts of `fixed_shifts`, and their range, in nats.

    The range is the resolution of the metric: a mean, or a difference of means, below it is no signal. Raises
    ValueError where there are fewer than three shifts (2 views need at least 4 images).
    """
    check_eps(eps)
    return AdjustedMean(*as_given(views, *adjusted_of(as_views(views), eps)))


def adjusted_of(z: Tensor, eps: float, images: Tensor | None = None) -> AdjustedMean[Tensor]:
    """`adjusted_mean_and_resolution` of some images of the views z (v, n, d), by their numbers, or of all.

    The views of these images are never copied together.
    """
    shifts = fixed_shifts(len(_at_least_two(z)), z.shape[1] if images is None else len(images))
    within, *shuffled = _rates_within(z, eps, (0, *shifts), images)
    moved = torch.stack(shuffled)
    return AdjustedMean(moved.mean() - within, moved.max() - moved.min())


def _rates_within(z: Tensor, eps: float, shifts: Sequence[int], images: Tensor | None = None) -> Tensor:
    """Rate of the scatter within images for each shift, by which view k is moved k times.

    All shifts at once, for of few images most of the time goes into calls; by blocks of images where these are many.
    """
    images = torch.arange(z.shape[1], device=z.device) if images is None else images
    v, n, d = len(z), len(images), z.shape[2]
    scale = d / (n * (v - 1) * eps * eps)
    moved = torch.tensor(shifts, device=z.device)[:, None]
    whole = n * (v - 1) <= max(d, BLOCK)
    device = "cpu" if z.device.type == "mps" else z.device
    total = torch.zeros((len(shifts), 1, 1), dtype=torch.float64, device=device)
    for rows in torch.split(torch.arange(n, device=z.device), n if whole else BLOCK // len(shifts)):
        contrasts = _contrasts([view[images[(rows + k * moved) % n]] for k, view in enumerate(z)])
        if whole:
            return scatter_rate(contrasts, scale)
        total = total + to_float64(gram(contrasts))
    return half_logdet(total, scale)


def _contrasts(views: Sequence[Tensor]) -> Tensor:
    """The v - 1 orthonormal contrasts of the views of each image: they have its scatter in fewer rows than all v."""
    return torch.cat([(sum(views[:k]) - k * views[k]) / (k * (k + 1)) ** 0.5 for k in range(1, len(views))], -2)


def _at_least_two(z: Tensor) -> Tensor:
    if z.shape[0] < 2:
        raise ValueError("needs at least two views of every image, got 1")
    return z
