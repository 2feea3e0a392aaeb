"""Writing files that are either whole or not there."""

import os
from pathlib import Path

from sslmlflow.errors import UserError


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file that is either whole or not there, also after a power failure.

    The temporary file lies in the same folder: a rename is atomic within one file system only.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise UserError(f"cannot write {path}: {error.strerror}.") from error
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power failure."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
