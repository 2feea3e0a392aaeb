"""Batches of views for the tests of methods, and what else a step gives them."""

import torch
from torch import Tensor

from sslmlflow.methods import Batch, Progress

MIDWAY = Progress(0.5, 1.0)


def batch_of(views: Tensor, *local: Tensor) -> Batch:
    """Views (2, n, 3, size, size), and small ones, each taken of the whole image."""
    crops = views, *local
    whole = torch.tensor([0.0, 0.0, 1.0, 1.0])
    return Batch(crops, torch.arange(views.shape[1]), tuple(whole.expand(*of.shape[:2], 4) for of in crops))
