"""Embeddings and classes from NumPy files that some other program wrote; nothing in them is executed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray
from torch import Tensor

from sslmlflow.errors import UserError, in_short

NUMPY, ZIP = b"\x93NUMPY", b"PK"  # how files begin


def read_views(embeddings: str, views: str | None) -> Tensor:
    """The embeddings as (views, images, features), float32 or float64; UserError where they cannot be measured."""
    first = _floats(embeddings, "embeddings")
    if first.ndim != 2 or 0 in first.shape:
        raise UserError(
            f"embeddings={embeddings} has the shape {first.shape}. Allowed: (images, features); flatten or average "
            "what else there is."
        )
    given = [first] if views is None else [first, *_split(_floats(views, "views"))]
    if len({array.shape for array in given}) > 1:
        raise UserError(
            f"views={views} holds {given[1].shape} and embeddings={embeddings} {first.shape}: the same images in the "
            "same order, by the same encoder, are needed."
        )
    if any(np.array_equal(first, view) for view in given[1:]):
        raise UserError(
            f"views={views} holds the numbers of embeddings={embeddings}: another augmentation of the images is "
            "needed, or leave --views out."
        )
    _check_finite(first, f"embeddings={embeddings}")
    for view in given[1:]:
        _check_finite(view, f"views={views}")
    return torch.stack([torch.from_numpy(array) for array in given])


def read_classes(path: str, n: int) -> NDArray[np.int64]:
    """Classes by number, whatever they were called; UserError where they are not one an image."""
    labels = _load(path, "labels")
    if labels.shape not in ((n,), (n, 1)):
        raise UserError(f"labels={path} has the shape {labels.shape}. Allowed: ({n},), one class an image.")
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise UserError(f"labels={path} holds NaN or infinity. Allowed: whole numbers or texts, one class an image.")
    return np.unique(labels.ravel(), return_inverse=True)[1].astype(np.int64)


def _check_finite(array: NDArray[Any], given: str) -> None:
    bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if len(bad):
        raise UserError(
            f"{given}: {len(bad):,} of {len(array):,} rows hold NaN or infinity, the first is row {bad[0]} (counted "
            "from 0). Leave these images out."
        )


def _split(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    yield from (array if array.ndim == 3 else [array])


def _floats(path: str, name: str) -> NDArray[Any]:
    array = _load(path, name)
    if array.dtype.kind != "f":
        raise UserError(f"{name}={path} holds {array.dtype}. Allowed: floats; write them with .astype('float32').")
    # float16 and others become float32, which all metrics take.
    return np.ascontiguousarray(array, dtype=np.float64 if array.dtype == np.float64 else np.float32)


def _load(path: str, name: str) -> NDArray[Any]:
    """The array of a .npy file, or the only one of a .npz; Python objects would be a pickle, and are refused."""
    place = Path(path).absolute()
    try:
        with open(place, "rb") as file:
            begins = file.read(len(NUMPY))
        if begins != NUMPY and not begins.startswith(ZIP):
            raise UserError(f"{name}={path} is not a NumPy file; numpy.save writes one.")
        found = np.load(place, allow_pickle=False)
        return _only(found, f"{name}={path}") if isinstance(found, NpzFile) else found
    except OSError as error:
        raise UserError(f"{name}={path} cannot be read: {error.strerror or error} ({place}).") from None
    except (ValueError, EOFError) as error:
        raise UserError(f"{name}={path} cannot be read as a NumPy file: {in_short(error)}.") from None


def _only(arrays: NpzFile, given: str) -> NDArray[Any]:
    with arrays:
        if any(entry.endswith("data.pkl") for entry in arrays.files):
            raise UserError(
                f"{given} is a file of torch; numpy.save('z.npy', tensor.cpu().numpy()) writes what is read."
            )
        if len(arrays.files) != 1:
            raise UserError(
                f"{given} holds {len(arrays.files)} arrays ({', '.join(arrays.files[:5])}); "
                "numpy.save('z.npy', numpy.load(file)[name]) writes one of them."
            )
        only: NDArray[Any] = arrays[arrays.files[0]]
        return only
