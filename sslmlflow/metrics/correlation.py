"""How far the criteria of a run's milestones go together."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from math import isfinite, nan
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Values = Sequence[float | None]


class Correlation(NamedTuple):
    """Pearson's r of n pairs and its two-sided p-value; both NaN, with the reason why, where r is undefined."""

    r: float
    p: float
    n: int
    reason: str | None


def pearson(a: Values, b: Values) -> Correlation:
    """Pearson's r of two equally long sequences, with its two-sided p-value by Student's t with n - 2 degrees.

    Pairs in which either value is None or not finite are left out, and n is the number of pairs used. r and p are
    NaN where n < 3 or where either side is constant up to the rounding of float64. Raises ValueError for sequences
    of different lengths.

    The p-value takes the pairs as independent. Milestones of one run follow each other and are not, so that p is too
    small for them.

    >>> r, p, n, reason = pearson([1, 2, 3, 4, None], [2, 1, 4, 3, 7])
    >>> round(r, 6), round(p, 6), n
    (0.6, 0.4, 4)
    >>> pearson([1, 1, 1], [1, 2, 3])
    Correlation(r=nan, p=nan, n=3, reason='the first variable is constant')
    """
    x, y = _defined_pairs(a, b)
    n = len(x)
    if n < 3:
        return Correlation(nan, nan, n, f"needs at least 3 pairs of finite values, got {n}")
    for values, which in ((x, "first"), (y, "second")):
        if _constant(values):
            return Correlation(nan, nan, n, f"the {which} variable is constant")
    result = stats.pearsonr(x, y)
    return Correlation(float(result.statistic), float(result.pvalue), n, None)


def rank_agreement(columns: Mapping[str, Values]) -> dict[tuple[str, str], float]:
    """Spearman's rho between every two criteria over milestones, each pair once in the order of the columns.

    columns: for every criterion one value per milestone, None where it is undefined. A pair of criteria is compared
    on the milestones where both are finite; equal values share their mean rank. rho is within [-1, 1], negative
    where one criterion falls while the other rises, and NaN below 3 such milestones or where a criterion does not
    change. Raises ValueError for columns of different lengths.

    >>> rho = rank_agreement({"crr": [1.0, 2.0, 9.0], "loss": [7.0, 3.0, 1.0]})
    >>> round(rho["crr", "loss"], 6)
    -1.0
    """
    agreement = {}
    for first, second in combinations(columns, 2):
        x, y = _defined_pairs(columns[first], columns[second])
        agreement[first, second] = pearson(stats.rankdata(x), stats.rankdata(y)).r
    return agreement


def _defined_pairs(a: Values, b: Values) -> tuple[NDArray[Any], NDArray[Any]]:
    if len(a) != len(b):
        raise ValueError(f"both sides must have one value per milestone, got {len(a)} and {len(b)} values")
    pairs = [(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    kept = np.array([pair for pair in pairs if all(map(isfinite, pair))], dtype=np.float64).reshape(-1, 2)
    return kept[:, 0], kept[:, 1]


def _constant(values: NDArray[Any]) -> bool:
    # Deviations this small are rounding, and their correlation would be noise.
    return bool(np.ptp(values) <= 1e-13 * np.abs(values).max())
