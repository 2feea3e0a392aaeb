"""Coding rate reduction with soft classes: every sample is the anchor of one, others belong to it by similarity.

Source: Qiang et al., "On the Generalization and Causal Explanation in Self-Supervised Learning", section 5.2.
"""

from collections.abc import Iterator
from math import inf
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from sslmlflow.metrics.unlabelled.arrays import Array, as_matrix, matmul, to_float64
from sslmlflow.metrics.unlabelled.determinants import as_given, check_eps, half_logdet, rate, scatter_rate

Scalar = TypeVar("Scalar", float, Tensor)
Normalise = Literal["sample", "anchor"]
BLOCK = 2**23  # similarities held at once


class SoftRates(NamedTuple, Generic[Scalar]):
    """`dR = R - Rc`; `stderr` is the standard error of Rc and dR where anchors were drawn, else 0."""

    R: Scalar
    Rc: Scalar
    dR: Scalar  # noqa: N815
    stderr: Scalar


def coding_rate_reduction_soft(
    Z: Array,
    tau: float = 0.1,
    eps: float = 0.5,
    normalise: Normalise = "sample",
    *,
    topk: int | None = None,
    anchors: int | None = None,
    exclude_self: bool = True,
    seed: int = 0,
) -> SoftRates[Any]:
    """Coding rate reduction of Z (m, d), in nats, with one soft class for every row j, its anchor.

    Row i belongs to the class of j by `exp(<z_i, z_j> / tau)`, for unit rows a cosine; not to its own with
    exclude_self. normalise="sample" gives every row memberships that sum to 1, so that `0 <= dR <= R`; with "anchor"
    those of every class do, all classes weigh 1, and dR may be negative. `topk` keeps the k rows most similar to
    each anchor before normalising: another metric, not an approximation; a row that nobody keeps belongs nowhere.
    `anchors` draws that many classes with `seed` and estimates the sum over all of them from these, without bias but
    for what a ratio of sums has, `stderr` beside it: take one seed wherever values are to be compared.

    Values depend on tau as much as on Z: towards 0 every class is one row, towards infinity all rows. Time is 2 m^2 d
    for the similarities and m d^2 for every anchor (k^2 d with topk). No m x m matrix is held where no gradient is
    asked for; where one is, the rows of every class are kept for it: m d numbers for every anchor, k d with topk.
    Raises ValueError for misshapen or non-finite Z, m < 2, tau <= 0, topk or anchors outside 1..m (m - 1 for topk
    with exclude_self), and topk together with anchors.
    """
    check_eps(eps)
    z = as_matrix(Z)
    _check(len(z), tau, normalise, topk, anchors, exclude_self)
    R = rate(z, eps)
    if topk is not None:
        sums, rates = _top_rates(z, tau, eps, normalise, topk, exclude_self)
    else:
        drawn = np.arange(len(z)) if anchors is None else np.random.default_rng(seed).permutation(len(z))[:anchors]
        sums, rates = _rates(z, tau, eps, normalise, torch.from_numpy(drawn).to(z.device), exclude_self)
    if anchors is None or anchors == len(z):
        Rc = (sums * rates).sum() / len(z)
        stderr = torch.zeros_like(Rc)
    else:
        # Sums are 1 on average over all anchors: their deviation is taken out, as in a ratio estimator.
        centre = (sums * rates).sum() / sums.sum()
        each = sums * (rates - centre) + centre
        Rc = each.mean()
        stderr = each.std() * ((1 - anchors / len(z)) / anchors) ** 0.5
    return SoftRates(*as_given(Z, R, Rc, R - Rc, stderr))


def _check(m: int, tau: float, normalise: str, topk: int | None, anchors: int | None, exclude_self: bool) -> None:
    if m < 2:
        raise ValueError(f"Z must have at least 2 rows, got {m}")
    if not 0 < tau < inf:
        raise ValueError(f"tau, the temperature, must be a positive finite number, got {tau}")
    if normalise not in ("sample", "anchor"):
        raise ValueError(f"normalise must be sample or anchor, got {normalise}")
    if topk is not None and anchors is not None:
        raise ValueError("topk and anchors cannot be given together: with topk all anchors are cheap")
    if topk is not None and not 1 <= topk <= m - exclude_self:
        raise ValueError(f"topk must lie between 1 and {m - exclude_self}, got {topk}")
    if anchors is not None and not 2 <= anchors <= m:
        raise ValueError(f"anchors must lie between 2 and {m}, got {anchors}")


def _logits(z: Tensor, tau: float, anchors: Tensor, exclude_self: bool) -> Iterator[tuple[Tensor, Tensor]]:
    """Blocks of anchors, and the logits (m, block) of all rows in their classes, float64."""
    for block in torch.split(anchors, max(1, BLOCK // len(z))):
        logits = to_float64(matmul(z, z[block].mT)) / tau
        if exclude_self:
            own = torch.zeros_like(logits, dtype=torch.bool)
            own[block, torch.arange(len(block))] = True
            logits = logits.masked_fill(own, -inf)
        yield block, logits


def _rates(
    z: Tensor, tau: float, eps: float, normalise: Normalise, anchors: Tensor, exclude_self: bool
) -> tuple[Tensor, Tensor]:
    """Sum of memberships and rate of the class of each of these anchors."""
    d = z.shape[1]
    total = None
    if normalise == "sample":
        every = torch.arange(len(z), device=z.device)
        parts = [logits.logsumexp(1) for _, logits in _logits(z, tau, every, exclude_self)]
        total = torch.stack(parts).logsumexp(0)[:, None]
    sums, rates = [], []
    for _, logits in _logits(z, tau, anchors, exclude_self):
        memberships = (logits - (logits.logsumexp(0) if total is None else total)).exp()
        for membership in memberships.unbind(1):
            t = membership.sum()
            sums.append(t)
            # A class without members weighs nothing; its rate is that of zeros.
            shares = (membership / t.clamp_min(1e-300)).clamp_min(1e-300).sqrt()
            rates.append(scatter_rate(shares.to(z.dtype)[:, None] * z, d / (eps * eps)))
    return torch.stack(sums), torch.stack(rates)


def _top_rates(
    z: Tensor, tau: float, eps: float, normalise: Normalise, topk: int, exclude_self: bool
) -> tuple[Tensor, Tensor]:
    """The same of all anchors, with the k most similar rows in each class."""
    m, d = z.shape
    found = [logits.topk(topk, dim=0) for _, logits in _logits(z, tau, torch.arange(m, device=z.device), exclude_self)]
    logits, index = torch.cat([top.values for top in found], 1).mT, torch.cat([top.indices for top in found], 1).mT
    if normalise == "anchor":
        memberships = logits.softmax(1)
    else:
        largest = torch.full((m,), -inf, dtype=logits.dtype, device=z.device)
        largest = largest.scatter_reduce(0, index.flatten(), logits.detach().flatten(), "amax")
        weights = (logits - largest[index]).exp()
        sums = torch.zeros_like(largest).scatter_add(0, index.flatten(), weights.flatten())
        memberships = weights / sums[index]
    t = memberships.sum(1)
    # As above: a class without members weighs nothing, and a member of weight 0 must not make the gradient infinite.
    shares = (memberships / t[:, None].clamp_min(1e-300)).clamp_min(1e-300).sqrt().to(z.dtype)
    rates = []
    for block in torch.split(torch.arange(m, device=z.device), max(1, BLOCK // (topk * d))):
        rows = shares[block, :, None] * z[index[block]]
        rates.append(half_logdet(matmul(rows, rows.mT), d / (eps * eps)))
    return t, torch.cat(rates)
