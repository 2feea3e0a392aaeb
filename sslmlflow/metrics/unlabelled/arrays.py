"""Embeddings as the metrics take them: checked, at least float32, never multiplied in lower precision."""

from collections.abc import Sequence
from math import frexp
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any] | Tensor
Views = Sequence[Array] | Array


def as_tensor(x: Array, name: str = "Z") -> Tensor:
    """Give NumPy or torch floats as a tensor; 16-bit floats become float32, nothing else is converted.

    Raises ValueError for anything that is not an array of floats.
    """
    if isinstance(x, np.ndarray):
        if x.dtype not in (np.float16, np.float32, np.float64):
            raise ValueError(f"{name} must hold floats, got {x.dtype}; convert it with .astype('float32')")
        x = torch.from_numpy(np.require(x, x.dtype.newbyteorder("="), ["C", "W"]))
    if not isinstance(x, Tensor):
        raise ValueError(f"{name} must be a NumPy array or a torch tensor, got {type(x).__name__}")
    if not x.is_floating_point():
        raise ValueError(f"{name} must hold floats, got {x.dtype}; convert it with .float()")
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def as_matrix(Z: Array, name: str = "Z") -> Tensor:
    """Give embeddings as a finite (m, d) tensor with m >= 1 and d >= 1; raises ValueError otherwise."""
    z = as_tensor(Z, name)
    if z.ndim != 2 or 0 in z.shape:
        raise ValueError(f"{name} must be (samples, features) with at least one of each, got {tuple(z.shape)}")
    # The least and the largest are NaN where any is: one pass, and nothing of the size of Z is made.
    if not bool(torch.isfinite(torch.stack(z.detach().aminmax())).all()):
        raise ValueError(f"{name} holds values that are not finite (NaN or infinity)")
    return z


def as_views(views: Views) -> Tensor:
    """Give the views of n images as one finite (v, n, d) tensor, v, n, d >= 1; raises ValueError otherwise."""
    if isinstance(views, np.ndarray | Tensor):
        z = as_tensor(views, "views")
        if z.ndim != 3 or 0 in z.shape:
            raise ValueError(f"views must be (views, images, features), none of them 0, got {tuple(z.shape)}")
        return as_matrix(z.flatten(0, 1), "views").reshape(z.shape)
    matrices = [as_matrix(view, f"view {i}") for i, view in enumerate(views)]
    if not matrices:
        raise ValueError("views is empty; give at least one (images, features) array")
    kinds = {(tuple(m.shape), m.dtype, m.device) for m in matrices}
    if len(kinds) > 1:
        raise ValueError(f"all views must have one shape, dtype and device, got {sorted(map(str, kinds))}")
    return torch.stack(matrices)


def to_float64(x: Tensor) -> Tensor:
    """Give x in float64, on the CPU where its own device has no float64 (Apple's GPUs)."""
    return (x.cpu() if x.device.type == "mps" else x).double()


def rescaled(Z: Array, name: str = "Z") -> tuple[Tensor, float]:
    """Give a float64 copy of Z with its largest magnitude in [1, 2), and what it was divided by.

    That is `power_of_two`. Squares stay in range; the copy is the caller's to change.
    """
    given = as_matrix(Z, name).detach()
    scale, z = power_of_two(given), to_float64(given)
    z = z.clone() if z is given else z
    return (z.div_(scale) if scale else z), scale


def near_one(Z: Array) -> Tensor:
    """Give Z in its own precision with its largest magnitude in [1, 2): float32 can then hold its distances."""
    z = as_matrix(Z).detach()
    return z / (power_of_two(z) or 1.0)


def power_of_two(z: Tensor) -> float:
    """The power of two at or below the largest magnitude in z; 0 where all are zero. Dividing by it rounds nothing."""
    low, high = z.aminmax()  # nothing of the size of z is made
    largest = max(-float(low), float(high))
    return 2.0 ** (frexp(largest)[1] - 1) if largest else 0.0


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """Multiply in the dtype of the arguments, whatever autocast or TensorFloat-32 settings are in force."""
    if torch.get_float32_matmul_precision() != "highest" and a.device.type != "mps":
        a, b = to_float64(a), to_float64(b)
    with torch.autocast(a.device.type, enabled=False):
        return a @ b
