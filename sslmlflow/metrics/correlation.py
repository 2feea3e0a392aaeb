"""How far two metrics go together over milestones, trainings or models, and what choosing by one of them loses."""

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
    return _correlation(a, b, lambda x, y: stats.pearsonr(_scaled(x), _scaled(y)))


def spearman(a: Values, b: Values) -> Correlation:
    """Spearman's rho: Pearson's r of the ranks, equal values sharing their mean rank; otherwise as `pearson`.

    >>> round(spearman([1, 2, 3, 4], [1, 4, 9, 100]).r, 6)
    1.0
    """
    return _correlation(a, b, stats.spearmanr)


def kendall(a: Values, b: Values) -> Correlation:
    """Kendall's tau-b: the pairs of pairs in equal order less those in opposite order; otherwise as `pearson`.

    >>> round(kendall([1, 2, 3, 4], [1, 2, 4, 3]).r, 6)
    0.666667
    """
    return _correlation(a, b, stats.kendalltau)


def partial_correlation(a: Values, b: Values, given: Sequence[float]) -> Correlation:
    """Return Pearson's r of what a straight line in `given` leaves of a and of b, with its two-sided p-value.

    Over the milestones of one training nearly everything rises with the epoch. Given the epoch, r shows whether a
    metric predicts accuracy better than the length of the training does.

    Args:
        a, b: Equally long; pairs in which either is None or not finite are left out.
        given: As long, finite.

    Returns:
        r within [-1, 1] and its p by Student's t with n - 3 degrees of freedom. Both are NaN where n < 4, and where
        either side, or `given`, is constant, or a straight line of `given` up to the rounding of float64.

    Raises:
        ValueError: For sequences of different lengths.

    Source: Fisher 1924, "The distribution of the partial correlation coefficient".

    >>> found = partial_correlation([1, 2, 3, 5, 4], [2, 1, 4, 5, 4], [1, 2, 3, 4, 5])
    >>> round(found.r, 6), found.n
    (0.622543, 5)
    """
    if len(given) != len(a):
        raise ValueError(f"given must have one value per milestone, got {len(given)} for {len(a)}")
    kept = [g for x, y, g in zip(a, b, given, strict=True) if _is_number(x) and _is_number(y)]
    x, y = _defined_pairs(a, b)
    n = len(x)
    if n < 4:
        return Correlation(nan, nan, n, f"needs at least 4 pairs of finite values, got {n}")
    if _constant(np.array(kept, dtype=np.float64)):
        return Correlation(nan, nan, n, "the given variable is constant")
    line = np.stack([np.ones(n), stats.zscore(kept)], axis=1)
    left = []
    for values, which in ((_scaled(x), "first"), (_scaled(y), "second")):
        rest = values - line @ np.linalg.lstsq(line, values)[0]
        if np.abs(rest).max() <= 1e-12 * np.abs(values).max():
            return Correlation(nan, nan, n, f"the {which} variable is a straight line of the given one")
        left.append(rest / np.linalg.norm(rest))
    r = float(np.clip(left[0] @ left[1], -1, 1))
    p = float(2 * stats.t.sf(abs(r) * ((n - 3) / max(1 - r * r, 1e-300)) ** 0.5, n - 3))
    return Correlation(r, p, n, None)


def bootstrap_interval(
    a: Values, b: Values, resamples: int = 2000, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """Ends of the percentile interval of Pearson's r, from pairs drawn anew with replacement; NaN where r is undefined.

    Pairs are left out as `pearson` leaves them out, and so are draws in which either side is constant; NaN where no
    draw is left, too. Milestones of one run follow each other: the interval, too, is narrower than it should be for
    them. One seed draws the same pairs for every metric. Raises ValueError for sequences of different lengths,
    resamples < 2, and a level outside (0, 1).

    Source: Efron 1979, "Bootstrap methods: another look at the jackknife".
    """
    if resamples < 2 or not 0 < level < 1:
        raise ValueError(f"needs resamples >= 2 and a level within (0, 1), got {resamples} and {level}")
    if pearson(a, b).reason:
        return nan, nan
    x, y = map(_scaled, _defined_pairs(a, b))
    drawn = np.random.default_rng(seed).integers(0, len(x), (resamples, len(x)))
    drawn = drawn[~(_constant(x[drawn]) | _constant(y[drawn]))]
    if len(drawn) == 0:
        return nan, nan
    dx, dy = (v[drawn] - v[drawn].mean(1, keepdims=True) for v in (x, y))
    # By the largest first: squares of what is left of an outlier's draw may underflow.
    dx, dy = (deviations / np.abs(deviations).max(1, keepdims=True) for deviations in (dx, dy))
    dx, dy = (deviations / np.linalg.norm(deviations, axis=1, keepdims=True) for deviations in (dx, dy))
    r = (dx * dy).sum(1)
    low, high = np.quantile(r.clip(-1, 1), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def corrected(p: Sequence[float]) -> list[float]:
    """p-values corrected for how many there are, by Benjamini and Hochberg's false discovery rate; NaN stays NaN.

    Those below 0.05 afterwards hold, on average, at most one in twenty false ones.

    Source: Benjamini and Hochberg 1995, "Controlling the false discovery rate".

    >>> corrected([0.01, 0.04, nan])
    [0.02, 0.04, nan]
    """
    known = [value for value in p if isfinite(value)]
    found = iter(stats.false_discovery_control(known)) if known else iter(())
    return [float(next(found)) if isfinite(value) else nan for value in p]


def regret(metric: Values, accuracy: Values, lower_is_better: bool = False) -> float | None:
    """What choosing by the metric loses: the highest accuracy less that where the metric is best, 0 or more.

    Pairs are left out as `pearson` leaves them out; of equal values the first is chosen. None where no pair is left.
    Raises ValueError for sequences of different lengths.

    >>> regret([1.0, 3.0, 2.0], [0.5, 0.75, 0.875])
    0.125
    """
    x, y = _defined_pairs(metric, accuracy)
    if len(x) == 0:
        return None
    chosen = x.argmin() if lower_is_better else x.argmax()
    return float(y.max() - y[chosen])


def lost_by_the_last(accuracy: Values) -> float | None:
    """Return what taking the last milestone loses, 0 or more; None where it has no finite accuracy.

    >>> lost_by_the_last([0.5, 0.75, 0.625])
    0.125
    """
    known = [value for value in accuracy if value is not None and isfinite(value)]
    return max(known) - known[-1] if known and accuracy[-1] == known[-1] else None


def lost_at_random(accuracy: Values) -> float | None:
    """Return what a milestone drawn at random loses on average, 0 or more; None where none has a finite accuracy.

    >>> lost_at_random([0.5, 0.75, 0.625])
    0.125
    """
    known = [value for value in accuracy if value is not None and isfinite(value)]
    return max(known) - sum(known) / len(known) if known else None


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
        agreement[first, second] = spearman(columns[first], columns[second]).r
    return agreement


def _correlation(a: Values, b: Values, statistic: Any) -> Correlation:
    x, y = _defined_pairs(a, b)
    n = len(x)
    if n < 3:
        return Correlation(nan, nan, n, f"needs at least 3 pairs of finite values, got {n}")
    for values, which in ((x, "first"), (y, "second")):
        if _constant(values):
            return Correlation(nan, nan, n, f"the {which} variable is constant")
    result = statistic(x, y)
    return Correlation(float(result.statistic), float(result.pvalue), n, None)


def _is_number(value: float | None) -> bool:
    return value is not None and isfinite(value)


def _defined_pairs(a: Values, b: Values) -> tuple[NDArray[Any], NDArray[Any]]:
    if len(a) != len(b):
        raise ValueError(f"both sides must have one value per milestone, got {len(a)} and {len(b)} values")
    pairs = [(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    kept = np.array([pair for pair in pairs if all(map(isfinite, pair))], dtype=np.float64).reshape(-1, 2)
    return kept[:, 0], kept[:, 1]


def _scaled(values: NDArray[Any]) -> NDArray[Any]:
    """Brought below 1 by a power of two, so that no square overflows."""
    scaled: NDArray[Any] = np.ldexp(values, -np.frexp(np.abs(values).max())[1])
    return scaled


def _constant(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Of every row: deviations this small are rounding, and their correlation would be noise."""
    # Halves, since the range of what is near the largest number there is would overflow.
    constant: NDArray[np.bool_] = np.ptp(values / 2, axis=-1) <= 1e-13 * np.abs(values / 2).max(-1)
    return constant
