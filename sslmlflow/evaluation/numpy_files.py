"""The array of a NumPy file of any origin: nothing in it is executed, and what its header claims is checked first."""

import stat
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
import psutil
from numpy.typing import NDArray

from sslmlflow.errors import UserError
from sslmlflow.texts import printable

NUMPY, ZIP = b"\x93NUMPY", b"PK"  # how files begin
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
CONTAINER_LIMITS = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")


def load_array(path: str, name: str) -> NDArray[Any]:
    """The array of a .npy file, or the only one of a .npz; Python objects would be a pickle, and are refused.

    Raises UserError, which calls the file by the parameter `name`, for everything that cannot be read.
    """
    place, given = Path(path).absolute(), f"{name}={printable(path)}"
    try:
        status = place.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for its writer
            raise UserError(f"{given} is not a file. Allowed: a NumPy file (.npy).")
        with open(place, "rb") as file:
            begins = file.read(len(NUMPY))
            if begins != NUMPY and not begins.startswith(ZIP):
                raise UserError(f"{given} is not a NumPy file; numpy.save writes one.")
            with _readable(given):
                return _array(file, status.st_size, given) if begins == NUMPY else _only(file, given)
    except OSError as error:
        raise UserError(f"{given} cannot be read: {error.strerror or error} ({printable(place)}).") from None


@contextmanager
def _readable(given: str) -> Iterator[None]:
    """UserError for whatever the readers of NumPy and of zip archives raise at bytes that make no sense."""
    try:
        with warnings.catch_warnings(action="ignore"):  # a header is parsed as Python text, with its warnings
            yield
    except UserError:
        raise
    except MemoryError:
        raise UserError(f"{given} does not fit into memory.") from None
    except Exception as error:
        raise UserError(f"{given} cannot be read as a NumPy file: {printable(error)[:200]}.") from None


def _array(file: IO[bytes], size: int, given: str) -> NDArray[Any]:
    """The array in a file, or an entry of an archive, of `size` bytes; its header is read twice."""
    file.seek(0)
    shape, dtype = _header(file, given)
    if dtype.hasobject:
        raise UserError(f"{given} holds Python objects, which may be code. Save numbers or texts.")
    needed, follow = prod(shape) * dtype.itemsize, size - file.tell()
    claimed = f"{_by(shape)} of {printable(dtype)[:80]}, {_size(needed)}"
    if min(shape, default=0) < 0 or needed > follow:
        raise UserError(f"{given} is damaged or cut off: its header claims {claimed}, and {_size(follow)} follow.")
    if needed > (most := _memory()):
        raise UserError(f"{given} holds {claimed}, and this machine has {_size(most)} of memory. Score fewer images.")
    file.seek(0)
    try:
        array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    except MemoryError:
        raise UserError(f"{given} holds {claimed}, more memory than this process may use.") from None
    return array


def _header(file: IO[bytes], given: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    try:
        shape, _, dtype = HEADERS[np.lib.format.read_magic(file)](file)
    except zipfile.BadZipFile:  # a wrong checksum
        raise
    except Exception:  # deep, long, or no Python at all: the advice in NumPy's own message is to trust the file
        raise UserError(
            f"{given} cannot be read as a NumPy file: its header is damaged, or not one of a plain array."
        ) from None
    return shape, dtype


def _only(file: IO[bytes], given: str) -> NDArray[Any]:
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        names = [entry.filename.removesuffix(".npy") for entry in entries]
        if any(name.endswith("data.pkl") for name in names):
            raise UserError(
                f"{given} is a file of torch; numpy.save('z.npy', tensor.cpu().numpy()) writes what is read."
            )
        if len(entries) != 1:
            raise UserError(
                f"{given} holds {len(entries)} arrays ({printable(', '.join(names[:5]))[:200]}); "
                "numpy.save('z.npy', numpy.load(file)[name]) writes one of them."
            )
        with archive.open(entries[0]) as entry:
            return _array(entry, entries[0].file_size, given)


def _memory() -> int:
    """The bytes of memory that the machine, or its container, has."""
    most = [psutil.virtual_memory().total]
    for limit in CONTAINER_LIMITS:
        with suppress(OSError, ValueError):  # no container, or no limit
            most.append(int(limit.read_text()))
    return int(min(most))


def _by(shape: tuple[int, ...]) -> str:
    sides = " x ".join(f"{side:,}" for side in shape[:5]) or "one number"
    return f"{sides} x ..." if len(shape) > 5 else sides


def _size(count: int) -> str:
    return f"{count:,} bytes" if count < 10**6 else f"{count / 1e9:,.3f} GB"
