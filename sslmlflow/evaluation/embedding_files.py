"""Embeddings from NumPy files of any origin, as `score` measures them."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sslmlflow.errors import UserError
from sslmlflow.evaluation.numpy_files import load_array

SINGLE = np.finfo(np.float32)


def read_views(embeddings: str, views: str | None) -> Tensor:
    """The embeddings as (views, images, features) in float32; UserError where they cannot be measured."""
    try:
        return torch.from_numpy(_stacked(embeddings, views))
    except MemoryError as error:
        given = f"embeddings={embeddings}" + (f" with views={views}" if views else "")
        raise UserError(f"{given} does not fit into memory: {error}") from None


def _stacked(embeddings: str, views: str | None) -> NDArray[np.float32]:
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
    return np.stack(given)


def _check_finite(array: NDArray[Any], given: str) -> None:
    bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if len(bad):
        raise UserError(
            f"{given}: {len(bad):,} of {len(array):,} rows hold NaN or infinity, the first is row {bad[0]} (counted "
            "from 0). Leave these images out."
        )


def _split(array: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    yield from (array if array.ndim == 3 else [array])


def _floats(path: str, name: str) -> NDArray[np.float32]:
    """Floats of any width in float32: encoders compute no finer, and equal numbers then have equal metrics."""
    array = load_array(path, name)
    if array.dtype.kind != "f":
        raise UserError(f"{name}={path} holds {array.dtype}. Allowed: floats; write them with .astype('float32').")
    largest = max(np.fmax.reduce(array, axis=None, initial=0), -np.fmin.reduce(array, axis=None, initial=0))
    if np.isfinite(largest) and not (largest == 0 or SINGLE.tiny <= largest <= SINGLE.max):
        raise UserError(
            f"{name}={path} holds numbers up to {largest:.0e}, beyond the range of float32 ({SINGLE.tiny:.0e} to "
            f"{SINGLE.max:.0e}). Scale them: divide all by one number."
        )
    with np.errstate(over="ignore"):  # beside an infinity, which is refused
        return np.ascontiguousarray(array, dtype=np.float32)
