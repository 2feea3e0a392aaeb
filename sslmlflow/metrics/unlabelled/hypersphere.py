"""What two views of each image look like on the unit sphere: near each other, spread out, and found again."""

from math import inf, log

import torch
from torch import Tensor

from sslmlflow.metrics.unlabelled.arrays import Array, Views, as_matrix, as_views, matmul, power_of_two, to_float64
from sslmlflow.metrics.unlabelled.coding_rate import directions, unit_rows

ROWS = 8192  # turned into float64 at once
BLOCK = 2**21  # similarities held at once


def alignment_loss(views: Views) -> float:
    """Mean squared distance of the two views of an image on the unit sphere: 0 (equal) to 4 (opposite).

    views: two arrays (n, d), row i of each from image i, or one (2, n, d) array; rows are scaled to norm 1, one of
    zeros stays. Raises ValueError for other shapes and for non-finite values.

    Source: Wang and Isola 2020, arXiv 2005.10242, section 4.1, with the exponent 2.

    >>> import numpy as np
    >>> alignment_loss(np.array([[[1.0, 0.0]], [[0.0, 1.0]]]))
    2.0
    """
    one, other = directions(_two(views))
    pairs = zip(torch.split(one, ROWS), torch.split(other, ROWS), strict=True)
    return float(sum((to_float64(a) - to_float64(b)).square().sum() for a, b in pairs)) / len(one)


def uniformity_loss(Z: Array, t: float = 2.0) -> float:
    """Log of the mean of `exp(-t |x - y|^2)` over all pairs of different rows of Z (n, d) on the unit sphere.

    Between -4t (all opposite, which only two rows can be) and 0 (all equal); lower is more evenly spread. Rows are
    scaled to norm 1, one of zeros stays. Time n^2 d, bounded memory. Raises ValueError for misshapen or non-finite Z,
    n < 2, and a t that is not a finite number above 0.

    Source: Wang and Isola 2020, arXiv 2005.10242, section 4.1, over all pairs instead of those of a batch.

    >>> import numpy as np
    >>> uniformity_loss(np.array([[1.0], [-1.0]]))
    -8.0
    """
    if not 0 < t < inf:
        raise ValueError(f"t must be a finite number above 0, got {t}")
    z = to_float64(directions(as_matrix(Z).detach()))
    n = len(z)
    if n < 2:
        raise ValueError(f"Z needs at least 2 rows, got {n}")
    squares = torch.linalg.vector_norm(z, dim=1).square()
    potentials = []
    for rows in torch.split(torch.arange(n, device=z.device), max(1, BLOCK // n)):
        squared = matmul(z[rows], z.T).mul_(-2).add_(squares[rows, None] + squares).clamp_min_(0)
        squared[torch.arange(len(rows)), rows] = torch.inf
        potentials.append(squared.mul_(-t).flatten().logsumexp(0))
    return float(torch.stack(potentials).logsumexp(0)) - log(n * (n - 1))


def retrieval_accuracy(views: Views) -> float:
    """How often the other view of an image is nearer by cosine than that of any other image: 0 to 1, chance 1/n.

    views: two arrays (n, d), row i of each from image i, or one (2, n, d) array. Counted from either view; a tie
    with another image counts as not found, so collapsed embeddings have 0. Compare equal n only: more images are
    harder to tell apart. In float64 throughout, since cosines near collapse differ by less than float32 resolves: a
    spread of a millionth of the norm is told apart. Time n^2 d, memory one view in float64. Raises ValueError for other
    shapes, non-finite values, and n < 2.

    Source: this project's; the pretext of instance discrimination (Wu et al. 2018, arXiv 1805.01978) as a metric.

    >>> import numpy as np
    >>> retrieval_accuracy(np.array([[[1.0, 0.0], [0.0, 1.0]], [[2.0, 1.0], [1.0, 2.0]]]))
    1.0
    """
    z = _two(views)
    n, scale = z.shape[1], power_of_two(z) or 1.0
    if n < 2:
        raise ValueError(f"views must be of at least 2 images, got {n}")
    found = 0
    for from_, to in ((z[0], z[1]), (z[1], z[0])):
        exact = to_float64(to[:0]).new_empty(to.shape)  # one of the two at a time
        for block in torch.split(torch.arange(n, device=z.device), ROWS):
            exact[block] = unit_rows(to_float64(to[block]) / scale)
        for rows in torch.split(torch.arange(n, device=z.device), max(1, BLOCK // n)):
            cosines = matmul(unit_rows(to_float64(from_[rows]) / scale), exact.T)
            own = cosines[torch.arange(len(rows)), rows].clone()
            cosines[torch.arange(len(rows)), rows] = -torch.inf
            # What differs by rounding alone is a tie.
            found += int((own > cosines.amax(1) + 1e-14).sum())
    return found / (2 * n)


def infonce(views: Views, temperature: float = 0.1) -> float:
    """Cross-entropy, in nats, of finding an image's other view among those of all images by a softmax over cosines.

    What contrastive methods minimise, of the embeddings themselves and with all n - 1 other images as negatives: 0
    (each view has its like alone) to above log(n), chance. The mean over both views. Lower is better; compare equal n
    and temperature only.

    Args:
        views: Two arrays (n, d), row i of each from image i, or one (2, n, d) array; rows are scaled to norm 1.
        temperature: Divides the cosines, above 0.

    Raises:
        ValueError: Other shapes, non-finite values, n < 2, or a temperature that is not a finite number above 0.

    Source: van den Oord et al. 2018, arXiv 1807.03748, Eq. 4, with cosines as in arXiv 1911.05722, Eq. 1.

    >>> import numpy as np
    >>> round(infonce(np.array([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]]]), temperature=1.0), 6)
    0.313262
    """
    if not 0 < temperature < inf:
        raise ValueError(f"temperature must be a finite number above 0, got {temperature}")
    one, other = directions(_two(views))
    n = len(one)
    if n < 2:
        raise ValueError(f"views must be of at least 2 images, got {n}")
    total = 0.0
    for from_, to in ((one, other), (other, one)):
        for rows in torch.split(torch.arange(n, device=one.device), max(1, BLOCK // n)):
            logits = matmul(from_[rows], to.T) / temperature
            total += float((logits.logsumexp(1) - logits[torch.arange(len(rows)), rows]).sum())
    return total / (2 * n)


def _two(views: Views) -> Tensor:
    z = as_views(views)
    if len(z) != 2:
        raise ValueError(f"views must be two of every image, got {len(z)}")
    return z.detach()
