"""Labels from a NumPy file of any origin: which images have a class, and whether the classes say anything."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslmlflow.errors import UserError
from sslmlflow.evaluation.numpy_files import load_array

# What libraries, and NumPy itself when it makes texts of a list, write for an image without a label.
UNKNOWN_TEXTS = "", "-1", "nan", "NaN", "NaT", "None"


@dataclass(frozen=True)
class Labels:
    """The number of every image's class, -1 where it is unknown; and why no metric can be measured with them, if so."""

    classes: NDArray[np.int64]
    undefined: str | None = None

    @property
    def known(self) -> NDArray[np.int64]:
        """The images that have a class."""
        return np.flatnonzero(self.classes >= 0)

    @property
    def count(self) -> int:
        """How many classes there are."""
        return int(self.classes.max()) + 1


def read_labels(path: str, n: int) -> Labels:
    """Labels of n images, whatever the classes are called; UserError where there is not one per image."""
    labels = load_array(path, "labels")
    if labels.shape not in ((n,), (n, 1)):
        raise UserError(f"labels={path} has the shape {labels.shape}. Allowed: ({n},), one class per image.")
    labels = labels.ravel()
    classes = np.full(n, -1)
    if labels.dtype.kind not in "biufSUM":
        return Labels(classes, f"labels of the type {str(labels.dtype)[:80]} are not classes")
    known = np.flatnonzero(~_unknown(labels))
    given = labels[known]
    if labels.dtype.kind == "f" and not (np.isfinite(given) & (given == np.rint(given))).all():
        return Labels(classes, "labels that are fractions or infinite are not classes")
    names, classes[known] = np.unique(given, return_inverse=True)
    return Labels(classes, _useless(len(names), len(known)))


def _unknown(labels: NDArray[Any]) -> NDArray[np.bool_]:
    if labels.dtype.kind in "SU":
        return np.asarray(np.isin(labels, np.array(UNKNOWN_TEXTS, dtype=labels.dtype.kind)))
    if labels.dtype.kind == "M":
        return np.asarray(np.isnat(labels))
    return np.asarray((labels == -1) | (labels != labels))


def _useless(classes: int, images: int) -> str | None:
    if not images:
        return "no image has a label"
    if classes == 1:
        return "all images with a label are of one class"
    if classes == images:
        return "every image with a label is of a class of its own"
    return None
