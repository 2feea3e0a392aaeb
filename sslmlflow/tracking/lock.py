"""A run's folder on this machine, in which one process at a time works."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from sslmlflow.errors import UserError
from sslmlflow.files import private
from sslmlflow.home import home

PATIENCE_SECONDS = 1.0  # who asks whether a run is busy holds its lock for a moment


def run_folder(run_id: str) -> Path:
    """Where a run's state lies on this machine, if it was begun here."""
    return home() / "runs" / run_id


@contextmanager
def locked(run_id: str) -> Iterator[None]:
    """Be the one process that works on the run; UserError if there is another."""
    with open(run_folder(run_id) / "lock", "a", opener=private) as file:
        patience = time.monotonic() + PATIENCE_SECONDS
        # Unlike flock, this lock is not inherited: workers that outlive a killed training do not hold it.
        while not _taken(file):
            if time.monotonic() > patience:
                raise UserError(f"another process on this machine works on run {run_id}.")
            time.sleep(0.05)
        yield


def is_busy(run_id: str) -> bool:
    """Whether another process of this machine works on the run; not to be asked by the one that does."""
    try:
        with open(run_folder(run_id) / "lock", "r+") as file:
            return not _taken(file)
    except FileNotFoundError:
        return False


def _taken(file: IO[str]) -> bool:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True
