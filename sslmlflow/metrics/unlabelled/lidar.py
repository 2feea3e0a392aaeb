"""LiDAR: how many directions tell images apart beyond what their augmentations change."""

from functools import reduce
from math import inf

import torch

from sslmlflow.metrics.unlabelled.arrays import Views, as_views, power_of_two
from sslmlflow.metrics.unlabelled.determinants import gram
from sslmlflow.metrics.unlabelled.triangle import folded, image_blocks


def lidar(views: Views, delta: float = 1e-4) -> float:
    """Return the effective rank of the linear discriminant matrix with images as classes.

    With `S_b` the covariance of the images' means and `S_w` that of views about the mean of their image, plus `delta`
    times its mean eigenvalue on the diagonal, it is exp of the entropy of the eigenvalues of `S_w^-1/2 S_b S_w^-1/2`
    as shares of their sum, each plus 1e-7. Embeddings are taken as they are, without normalising their rows.

    The paper adds delta = 1e-4 itself. That is small only for embeddings of one scale: on rows of norm 1 it is as large
    as most eigenvalues of `S_w`, and the result then measures delta. As a share of the mean eigenvalue it is small for
    embeddings of any scale, and the scale changes nothing. Where the views of every image are equal, `S_w` is taken as
    the identity, the limit of the paper's form.

    Args:
        views: v >= 2 arrays (n, d), row i of each from image i, or one (v, n, d) array, of the encoder or, as in the
            paper, of the projector. The paper has 50 views of 1,000 images. With few views, `S_w` is singular for
            n (v - 1) < d but for delta.
        delta: Share of the mean eigenvalue of `S_w`, above 0.

    Returns:
        1 to min(n - 1, d), up to rounding.

    Raises:
        ValueError: For other shapes, non-finite values, n < 2, delta outside (0, inf), and where all images have the
            same mean.

    Source: Thilak et al. 2023, arXiv 2312.04000, section 4.

    >>> import numpy as np
    >>> means = np.vstack([np.eye(3), -np.eye(3)])
    >>> round(lidar(np.stack([means, means])), 3)
    3.0
    """
    z = as_views(views).detach()
    v, n, d = z.shape
    if v < 2 or n < 2:
        raise ValueError(f"views must be at least two of at least two images, got {v} of {n}")
    if not 0 < delta < inf:
        raise ValueError(f"delta must be a finite number above 0, got {delta}")
    scale = power_of_two(z) or 1.0  # squares stay in range
    mean = sum((block / scale).mean(0).sum(0) for block in image_blocks(z)) / n
    between = folded((block / scale).mean(0) - mean for block in image_blocks(z))
    if float(between.norm()) <= 1e-12 * float(torch.linalg.vector_norm(mean)) * n**0.5:
        raise ValueError("views of all images have the same mean: nothing tells them apart")
    grams = (gram((block - block.mean(0)).flatten(0, 1) / scale) for block in image_blocks(z))
    within = reduce(torch.add, grams) / (n * v)
    size = float(within.trace()) / d
    identity = torch.eye(d).to(between)
    scatter = within / size + delta * identity if size > _EQUAL else identity
    # Eigenvalues of S_w^-1/2 S_b S_w^-1/2 are the squared singular values of L^-1 B^T, S_w = L L^T.
    whitened = torch.linalg.solve_triangular(torch.linalg.cholesky(scatter), between.T, upper=False)
    eigenvalues = torch.linalg.svdvals(whitened).square()
    shares = eigenvalues / eigenvalues.sum() + 1e-7
    return float(torch.exp(-(shares * shares.log()).sum()))


_EQUAL = 1e-30  # a mean eigenvalue of S_w, beside embeddings of about 1, that is rounding of the mean of equal views
