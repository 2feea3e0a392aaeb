"""Labelled embeddings as the probes take them: a training and a test part, checked."""

from typing import Any

import numpy as np
import pandas
from numpy.typing import NDArray
from torch import Tensor

from sslmlflow.metrics.unlabelled.arrays import Array, as_matrix


def check_part(Z: Array, y: Array, Z_name: str, y_name: str) -> tuple[Tensor, NDArray[Any]]:
    """Give embeddings (n, d) as a finite tensor and their n class labels, of any type, as a NumPy array.

    Raises ValueError for empty, misshapen or non-finite embeddings and for labels that are not one per row.
    """
    z = as_matrix(Z, Z_name)
    labels = check_labels(y, y_name)
    if len(labels) != len(z):
        raise ValueError(f"{Z_name} holds {len(z)} embeddings and {y_name} {len(labels)}; give one label per embedding")
    return z, labels


def check_labels(y: Array, name: str) -> NDArray[Any]:
    """Give class labels as a one-dimensional NumPy array; raises ValueError for what is none."""
    given = y.numpy(force=True) if isinstance(y, Tensor) else y
    labels = np.asarray(given)
    if labels.ndim != 1:
        raise ValueError(f"{name} must be one class label per image, got shape {labels.shape}")
    if labels.dtype.kind in "Vc":
        raise ValueError(f"{name} must be one class label per image (a number or a text), got {labels.dtype}")
    # Of a list that holds names and NaN an array of names would be made, "nan" among them.
    one_by_one = labels if isinstance(given, np.ndarray) else np.asarray(given, dtype=object)
    missing = np.flatnonzero(pandas.isna(one_by_one) | np.ma.getmaskarray(given))
    if len(missing):
        raise ValueError(f"{name} has no class for {len(missing)} images, image {missing[0]} first: leave these out")
    return labels


def check_widths(train_Z: Tensor, test_Z: Tensor) -> None:
    """Raise ValueError unless training and test embeddings have the same number of features."""
    if train_Z.shape[1] != test_Z.shape[1]:
        raise ValueError(f"train_Z has {train_Z.shape[1]} features, test_Z {test_Z.shape[1]}: not the same encoder")
