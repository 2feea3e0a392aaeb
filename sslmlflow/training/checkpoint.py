"""Resume checkpoints: one safetensors file each, written so that a kill at any instant leaves a good one."""

import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from sslmlflow.errors import UserError, in_short
from sslmlflow.files import private_folder, require_space, write_atomically

KEPT = 2


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by name, and what else JSON can say."""

    step: int
    tensors: dict[str, Tensor]
    info: dict[str, Any]


def save_checkpoint(folder: Path, step: int, tensors: Mapping[str, Tensor], info: Mapping[str, Any]) -> None:
    """Write the checkpoint of `step` and drop all but the newest two.

    UserError when the disk is full or a tensor is not finite; what was there before stays as it is.
    """
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise UserError(f"{name} holds numbers that are not finite after step {step}; not saved.")
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    data = save(contiguous, metadata={"info": json.dumps({**info, "step": step})})
    private_folder(folder)
    require_space(folder, len(data), "a checkpoint")
    checksum = hashlib.sha256(data).hexdigest()[:16]
    write_atomically(folder / f"step-{step:010d}.{checksum}.safetensors", data)
    for old in _newest_first(folder)[KEPT:]:
        old.unlink(missing_ok=True)


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest checkpoint whose checksum holds; None if there is none. Spoilt ones are renamed, and it is said."""
    for stale in folder.glob("*.part"):
        stale.unlink(missing_ok=True)
    for path in _newest_first(folder):
        checksum = path.name.split(".")[1]
        if hashlib.sha256(path.read_bytes()).hexdigest()[:16] != checksum:
            # Out of the way: what is saved from an earlier step on must not be taken for older than this.
            spoilt = path.rename(path.with_suffix(".spoilt"))
            print(f"{path.name} is not as it was written and is left out: it is {spoilt} now", file=sys.stderr)
            continue
        try:
            return _read(path)
        except (SafetensorError, ValueError, KeyError, TypeError) as error:  # the checksum of a file that is not ours
            raise UserError(f"{path} is not a checkpoint of sslmlflow: {in_short(error)}. Move it away.") from error
    return None


def _read(path: Path) -> Checkpoint:
    with safe_open(path, framework="pt") as file:
        info = json.loads(file.metadata()["info"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        return Checkpoint(info.pop("step"), tensors, info)


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*.safetensors"), reverse=True)
