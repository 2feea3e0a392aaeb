"""Milestones whose value lies far off the curve of their neighbours."""

from collections.abc import Sequence
from math import isfinite, sqrt

import numpy as np
from numpy.typing import NDArray


def outlying(values: Sequence[float | None], threshold: float = 3.5) -> list[bool]:
    """Mark the values of a curve that lie far off its trend, the running median over 5 neighbouring milestones.

    A value is far where its modified z-score, `0.6745 |residual| / scale`, exceeds the threshold. The scale is the
    median absolute residual (MAD), but at least `median |step| / sqrt(2)` over the steps between neighbours: what the
    MAD of noise with such steps would be. Without this the MAD is about 0 on a smooth curve, since a running median
    follows rising values exactly, and every ripple would be marked. Where both are 0 (most values are equal) whatever
    differs from the trend by more than the rounding of float64 is far. The farthest value is marked and taken out,
    and the rest judged again, so that a far value on a steep curve does not drag its neighbours along.

    Next to the ends the window shrinks to as many neighbours as there are on both sides: 3, then the value alone. So
    the first and the last value are never marked, for nothing tells a fluke from a steep beginning there, and
    neither is any value of a curve that only rises or only falls. Undefined values (None, not finite) are never
    marked and count as nobody's neighbour.

    Source: Iglewicz and Hoaglin 1993, "How to Detect and Handle Outliers", for the score and the threshold.

    >>> outlying([10, 50, 70, 80, 20, 87, 90, 92, 93])
    [False, False, False, False, True, False, False, False, False]
    """
    curve = np.array([np.nan if value is None or not isfinite(value) else value for value in values], dtype=np.float64)
    kept = np.flatnonzero(np.isfinite(curve))
    marked = [False] * len(values)
    while len(kept) >= 3:
        excess = _excess(curve[kept], threshold)
        farthest = int(excess.argmax())
        if excess[farthest] <= 0:
            break
        marked[kept[farthest]] = True
        kept = np.delete(kept, farthest)
    return marked


def _excess(curve: NDArray[np.float64], threshold: float) -> NDArray[np.float64]:
    """How much farther every value lies off the trend than is allowed; negative where it is near."""
    residual = np.abs(curve - _running_median(curve))
    scale = max(float(np.median(residual)), float(np.median(np.abs(np.diff(curve)))) / sqrt(2))
    rounding = 4 * float(np.finfo(np.float64).eps * np.abs(curve).max())
    return residual - max(threshold * scale / 0.6745, rounding)


def _running_median(curve: NDArray[np.float64]) -> NDArray[np.float64]:
    last = len(curve) - 1
    reach = [min(2, i, last - i) for i in range(len(curve))]
    return np.array([np.median(curve[i - r : i + r + 1]) for i, r in enumerate(reach)])
