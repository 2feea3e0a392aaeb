"""Writing files that are either whole or not there, and that other users of the machine cannot read."""

import os
import shutil
from pathlib import Path

from sslmlflow.errors import UserError


def private_folder(folder: Path) -> Path:
    """Make a folder and the missing ones above it for this user alone, whatever the umask; an old one is left as is."""
    if not folder.is_dir():
        private_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def private(path: str, flags: int) -> int:
    """Open a file, as the opener of `open`, that is for this user alone if it is made now, whatever the umask."""
    return os.open(path, flags, 0o600)


def private_database(path: Path) -> Path:
    """Make the file of a SQLite database before SQLite does, which gives its own mode to the journals beside it."""
    private_folder(path.parent)
    os.close(private(str(path), os.O_RDWR | os.O_CREAT))
    return path


def write_atomically(path: Path, data: bytes, shared: bool = False) -> None:
    """Write a file that is either whole or not there, also after a power failure; private unless it is to be `shared`.

    The temporary file lies in the same folder: a rename is atomic within one file system only.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with open(part, "wb", opener=None if shared else private) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise UserError(f"cannot write {path}: {error.strerror}.") from error
    sync_folder(path.parent)


def require_space(folder: Path, needed: int, what: str) -> None:
    """UserError unless the disk of `folder` has twice as many bytes free as are needed."""
    free = shutil.disk_usage(folder).free
    if free < 2 * needed:
        raise UserError(
            f"{what} needs {needed / 1e6:.1f} MB, and {free / 1e6:.1f} MB are free in {folder}. "
            "Free some space, then start again with --resume=auto; nothing is lost."
        )


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power failure."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
