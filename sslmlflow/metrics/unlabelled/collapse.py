"""Has the encoder collapsed: does it answer every image alike?"""

from math import hypot

from sslmlflow.metrics.unlabelled.arrays import Array
from sslmlflow.metrics.unlabelled.spectrum import effective_rank, precision
from sslmlflow.metrics.unlabelled.triangle import triangle

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
    around, between = float(centred.R.norm()), n**0.5 * float(centred.mean.norm())
    # Four roundings: what a constant encoder may show through sums taken in another order.
    if around <= 4 * precision(Z) * hypot(around, between):
        return f"all {n} embeddings are the same to the precision of their numbers"
    rank = effective_rank(Z)
    if rank < 1.5:
        return f"the {n} embeddings lie on a line: effective rank {rank:.2f}, at least 1.5 expected"
    return None
