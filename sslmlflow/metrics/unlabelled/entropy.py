"""How evenly embeddings fill their space: the entropy of their histogram."""

from math import inf

import numpy as np
from numpy.typing import NDArray

from sslmlflow.metrics.unlabelled.arrays import Array, rescaled

NORMAL = 1.4826  # standard deviations in a median absolute deviation of a normal distribution


def histogram_entropy(Z3: Array, width: float = 0.4, robust: bool = False) -> float:
    """Entropy, in nats, of the histogram of the rows of Z3 (n, d), meant for d = 3: between 0 and ln n.

    Bins along each axis are `width` standard deviations of that axis wide and start at its minimum; shift and scale
    do not matter. One far outlier widens the bins until everything else shares a few of them. robust=True takes
    1.4826 times the median absolute deviation instead, which no outlier moves; an axis on which that is 0, where at
    least half of the values equal the median, keeps its standard deviation. An axis on which nothing varies is one
    bin. Raises ValueError for misshapen or non-finite Z3 and unless 0 < width < infinity.

    Source: Xu, Lowe and Trappenberg 2024, "Label-free Monitoring of Self-Supervised Learning Progress", section III
    (width 0.4, and 0.8 for encoders trained with the labels of ImageNet); the robust form is this project's.

    >>> import numpy as np
    >>> round(histogram_entropy(np.array([[0.0], [0.0], [1.0], [1.0]])), 4)  # ln 2: two bins, half in each
    0.6931
    """
    if not 0 < width < inf:
        raise ValueError(f"width, the bins' in standard deviations, must be a positive finite number, got {width}")
    z = rescaled(Z3, "Z3")[0].numpy(force=True)
    step = width * (_robust_deviation(z) if robust else z.std(0))
    # Kept as floats: the bin of a far outlier may be beyond every integer.
    bins = np.floor((z - z.min(0)) / np.where(step > 0, step, inf))
    # Only the occupied bins are counted; a dense histogram would outgrow the memory by one far outlier.
    _, counts = np.unique(bins, axis=0, return_counts=True)
    shares = counts / len(z)
    return abs(float((shares * np.log(shares)).sum()))


def far_from_the_rest(Z3: Array, deviations: float = 10.0) -> NDArray[np.bool_]:
    """Tell which rows of a map (n, d) lie more than `deviations` robust deviations from the median on some axis.

    The robust deviation is 1.4826 times the median absolute deviation; an axis on which that is 0 tells nothing. Such
    outliers stretch the bins of `histogram_entropy`: the paper marks the milestones that have them (figures 2 to 4),
    without a number for how far is far; 10 is ours. Raises ValueError for misshapen or non-finite Z3.

    >>> import numpy as np
    >>> far_from_the_rest(np.array([[0.0], [1.0], [2.0], [3.0], [90.0]])).tolist()
    [False, False, False, False, True]
    """
    z = rescaled(Z3, "Z3")[0].numpy(force=True)
    median = np.median(z, axis=0)
    mad = np.median(np.abs(z - median), axis=0)
    far: NDArray[np.bool_] = (np.abs(z - median) > deviations * NORMAL * np.where(mad > 0, mad, np.inf)).any(axis=1)
    return far


def _robust_deviation(z: NDArray[np.float64]) -> NDArray[np.float64]:
    mad = np.median(np.abs(z - np.median(z, axis=0)), axis=0)
    return np.where(mad > 0, NORMAL * mad, z.std(0))
