"""Has the encoder collapsed: does it answer every image alike?"""

from math import hypot

import numpy as np

from sslmlflow.metrics.unlabelled.arrays import Array, near_one
from sslmlflow.metrics.unlabelled.neighbours import nearest_neighbours
from sslmlflow.metrics.unlabelled.spectrum import effective_rank, precision, singular_value_spectrum
from sslmlflow.metrics.unlabelled.triangle import Triangle, triangle

NEAR = 0.02  # of the typical distance of two images
LOST = 1e-3
MIN_IMAGES = 4  # below that the centred embeddings of a sound encoder, too, have almost no rank


def collapsed(Z: Array) -> str | None:
    """Say why the embeddings Z (n, d), n >= 4, are collapsed, or give None when they are not.

    Collapsed means that the embeddings vary by no more than the precision of their numbers (relative to their
    magnitude), or that the centred embeddings have an effective rank below 1.5. The effective rank is that of the
    singular values: by squared singular values, an untrained ResNet-50 on natural images falls below 1.3 although
    its embeddings carry information, while by singular values no untrained torchvision encoder that we tried came
    below 2, even on four images. Raises ValueError for fewer than 4 rows and for non-finite Z.

    >>> import numpy as np
    >>> collapsed(np.ones((8, 3)))
    'all 8 embeddings are the same to the precision of their numbers'
    """
    centred = triangle(Z, centre=True)
    n = len(Z)
    if n < MIN_IMAGES:
        raise ValueError(f"needs the embeddings of at least {MIN_IMAGES} images, got {n}")
    if centred.scale == 0:
        return f"all {n} embeddings are zero"
    if not _varies(centred, Z):
        return f"all {n} embeddings are the same to the precision of their numbers"
    rank = effective_rank(Z)
    if rank < 1.5:
        return f"the {n} embeddings lie on a line: effective rank {rank:.2f}, at least 1.5 expected"
    return None


def _varies(centred: Triangle, Z: Array) -> bool:
    """Whether Z differs from its mean by more than rounding."""
    around, between = float(centred.R.norm()), len(Z) ** 0.5 * float(centred.mean.norm())
    # Four roundings: what a constant encoder may show through sums taken in another order.
    return around > 4 * precision(Z) * hypot(around, between)


def lost_directions(Z: Array) -> float:
    """Share of the directions that embeddings (n, d) could have, min(n - 1, d), in which they hardly vary: 0 to 1.

    Hardly: by less than a thousandth of the standard deviation of their first principal axis. Raises ValueError for
    fewer than 2 rows, misshapen or non-finite Z, and where nothing varies.

    Source: the spectra of Jing et al. 2022, arXiv 2110.09348, as one number; the thousandth is ours.
    """
    if not _varies(triangle(Z, centre=True), Z):
        raise ValueError("nothing varies in Z: there is no direction")
    spectrum = singular_value_spectrum(Z)[: len(Z) - 1]
    return float((spectrum < LOST * spectrum[0]).mean())


def near_duplicates(Z: Array) -> float:
    """Share of the embeddings (n, d) whose nearest other is nearer than 2 % of the typical distance of two: 0 to 1.

    Typical: the root of the mean squared distance. Time n^2 d. Raises ValueError for fewer than 2 rows, misshapen or
    non-finite Z, and where nothing varies.

    Source: this project's.
    """
    if not _varies(triangle(Z, centre=True), Z):
        raise ValueError("nothing varies in Z: there is no typical distance")
    z = near_one(Z)
    nearest = nearest_neighbours(z, 1).distances[:, 0]
    typical = float(np.sqrt(2 * (singular_value_spectrum(z) ** 2).sum()))
    return float((nearest < NEAR * typical).mean())
