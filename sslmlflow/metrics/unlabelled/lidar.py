"""LiDAR: how many directions tell images apart beyond what their augmentations change."""

from math import inf

import torch

from sslmlflow.metrics.unlabelled.arrays import Views, as_views, power_of_two
from sslmlflow.metrics.unlabelled.determinants import gram
from sslmlflow.metrics.unlabelled.triangle import folded, image_blocks


def lidar(views: Views, delta: float = 1e-4) -> float:
    """Effective rank of the linear discriminant matrix of images as classes: 1 to min(n - 1, d), up to rounding.

    views: v >= 2 arrays (n, d), row i of each from image i, or one (v, n, d) array, of the encoder or, as in the paper,
    of the projector. With `S_b` the covariance of the images' means and `S_w` that of views about the mean of their
    image, plus `delta` times the identity, it is exp of the entropy of the eigenvalues of `S_w^-1/2 S_b S_w^-1/2` as
    shares of their sum, each plus 1e-7. delta is in the unit of Z squared: the scale of Z matters where views
    hardly differ. The paper takes 50 views; with 2, S_w is singular for n < d but for delta. Raises ValueError for
    other shapes, non-finite values, n < 2, delta outside (0, inf), values beyond 1e100 or all below 1e-100, which no
    delta suits, and where all images have the same mean.

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
    largest = power_of_two(z)
    if largest and not 1e-100 < largest < 1e100:
        raise ValueError(
            f"views hold values of about {largest:.0e} at most: scale them, delta is in their unit squared"
        )
    mean = sum(block.mean(0).sum(0) for block in image_blocks(z)) / n
    between = folded(block.mean(0) - mean for block in image_blocks(z))
    if float(between.norm()) <= 1e-12 * float(torch.linalg.vector_norm(mean)) * n**0.5:
        raise ValueError("views of all images have the same mean: nothing tells them apart")
    within = sum(gram((block - block.mean(0)).flatten(0, 1)) for block in image_blocks(z))
    scatter = within / (n * v) + delta * torch.eye(d).to(between)
    # Eigenvalues of S_w^-1/2 S_b S_w^-1/2 are the squared singular values of L^-1 B^T, S_w = L L^T.
    whitened = torch.linalg.solve_triangular(torch.linalg.cholesky(scatter), between.T, upper=False)
    eigenvalues = torch.linalg.svdvals(whitened).square()
    shares = eigenvalues / eigenvalues.sum() + 1e-7
    return float(torch.exp(-(shares * shares.log()).sum()))
