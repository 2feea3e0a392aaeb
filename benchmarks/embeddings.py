"""Embeddings as encoders make them, for the benchmarks of metrics: ten classes, a falling spectrum, two views."""

import numpy as np
import torch
from torch import Tensor


def embeddings(n: int, d: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two views (2, n, d) in float32, and the classes (n,) of the images."""
    random = np.random.default_rng(seed)
    axes = np.arange(1, d + 1, dtype=np.float32) ** -0.5
    centres = np.random.default_rng(12).standard_normal((10, d), dtype=np.float32)
    classes = random.integers(0, 10, n)
    images = 0.5 * centres[classes] + random.standard_normal((n, d), dtype=np.float32)
    views = np.stack([(images + 0.4 * random.standard_normal((n, d), dtype=np.float32)) * axes for _ in range(2)])
    return torch.from_numpy(np.maximum(views, 0)), torch.from_numpy(classes)  # as after a ReLU
