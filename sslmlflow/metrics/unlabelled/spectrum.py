"""Ranks read off the singular values of embeddings."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sslmlflow.metrics.unlabelled.arrays import Array
from sslmlflow.metrics.unlabelled.triangle import triangle


def rankme(Z: Array) -> float:
    """RankMe: exp of the entropy of the singular values of Z (n, d) as shares of their sum, each plus 1e-7.

    Between 1 and min(n, d), up to the 1e-7; the embeddings are neither centred nor normalised and the scale of the
    whole does not matter. Raises ValueError for empty, non-finite or all-zero Z.

    Source: Garrido et al. 2023, arXiv 2210.02885, equations 1 and 2.

    >>> import numpy as np
    >>> round(rankme(np.eye(3)), 3)
    3.0
    """
    found = triangle(Z)
    if found.scale == 0:
        raise ValueError("every embedding is zero: the singular values have no distribution")
    singular = torch.linalg.svdvals(found.R)
    shares = singular / singular.sum() + 1e-7
    return float(torch.exp(-(shares * shares.log()).sum()))


def effective_rank(Z: Array) -> float:
    """Effective rank of the centred embeddings (n, d): exp of the entropy of their singular values' shares.

    Between 1 and min(n - 1, d), or 0 when nothing varies. Singular values no larger than the rounding of Z itself
    could make them are dropped, so that a line stored in half precision has rank 1. Raises ValueError for empty or
    non-finite Z.

    Source: Roy and Vetterli 2007, "The effective rank", section 2.
    """
    singular = _centred(Z)
    shares = singular / singular.sum()
    return float(torch.exp(-(shares * shares.log()).sum())) if len(singular) else 0.0


def stable_rank(Z: Array) -> float:
    """Stable rank of Z (n, d): the sum of its squared singular values over the largest one, 1 to min(n, d).

    Neither centred nor normalised; small singular values hardly count, where `rankme` counts them almost fully. Raises
    ValueError for empty, non-finite or all-zero Z.

    Source: Rudelson and Vershynin 2007, "Sampling from large matrices", section 1.

    >>> import numpy as np
    >>> round(stable_rank(np.diag([2.0, 1.0])), 6)
    1.25
    """
    found = triangle(Z)
    if found.scale == 0:
        raise ValueError("every embedding is zero: the singular values have no largest")
    squared = torch.linalg.svdvals(found.R).square()
    return float(squared.sum() / squared[0])


def alpha_req(Z: Array) -> float:
    """Exponent alpha of the decay `lambda_j ~ j^-alpha` of the eigenvalues of the covariance of Z (n, d).

    The slope, taken negative, of the straight line through log lambda_j over log j by least squares, over all
    eigenvalues that the rounding of Z could not make by itself. 0 or more, the scale of Z does not matter. Nearer to 1
    is better where features generalise; small values are spread as noise is, large ones near collapse: neither more nor
    less is better everywhere. With n near d, or below, the tail falls for lack of samples. Raises ValueError for empty
    or non-finite Z and for fewer than 3 such eigenvalues.

    Source: Agrawal et al. 2022, arXiv 2202.05808, section 3; the range of the fit is our decision.

    >>> import numpy as np
    >>> Z = np.diag(np.arange(1, 9) ** -0.75)
    >>> round(alpha_req(np.vstack([Z, -Z])), 6)
    1.5
    """
    singular = _centred(Z)
    if len(singular) < 3:
        raise ValueError(f"Z needs 3 eigenvalues beyond rounding to fit a decay, got {len(singular)}")
    x = np.log(np.arange(1, len(singular) + 1))
    slope, _ = np.polyfit(x, 2 * np.log(singular.numpy(force=True)), 1)
    return max(0.0, -float(slope))


def singular_value_spectrum(Z: Array) -> NDArray[np.float64]:
    """Standard deviations of the embeddings (n, d) along their principal axes, descending: min(n, d) values.

    They are the singular values of the centred embeddings divided by sqrt(n), in the unit of Z; their squares are the
    eigenvalues of the covariance matrix (divisor n). Values at the floor of rounding show dimensions that have
    collapsed. Raises ValueError for empty or non-finite Z.

    Source: Jing et al. 2022, arXiv 2110.09348, section 3, which plots the logarithm of the squares.

    >>> import numpy as np
    >>> singular_value_spectrum(np.array([[3.0, 0.0], [-3.0, 0.0]])).tolist()
    [3.0, 0.0]
    """
    found = triangle(Z, centre=True)
    singular = torch.linalg.svdvals(found.R)
    spectrum: NDArray[np.float64] = (singular / len(Z) ** 0.5 * found.scale).cpu().numpy()
    return spectrum


def _centred(Z: Array) -> Tensor:
    """Singular values of the centred embeddings, in some unit, without those that rounding could make."""
    found = triangle(Z, centre=True)
    n, d = Z.shape
    singular: Tensor = torch.linalg.svdvals(found.R)
    norm = (found.R.square().sum() + n * found.mean.square().sum()).sqrt()  # of Z, not centred
    # Entries rounded at random to precision p form a matrix of spectral norm below p rms(Z) (sqrt(n) + sqrt(d)).
    return singular[singular > precision(Z) * norm * (n**-0.5 + d**-0.5)]


def precision(Z: Array) -> float:
    """Relative precision of the numbers in Z; at best that of float32, since encoders compute no finer."""
    given = torch.finfo(Z.dtype).eps if isinstance(Z, Tensor) else float(np.finfo(Z.dtype).eps)
    return max(given, torch.finfo(torch.float32).eps)
