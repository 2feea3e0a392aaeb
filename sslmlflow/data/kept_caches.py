"""The caches of decoded images that a folder holds, and their removal."""

import fcntl
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sslmlflow.data.cache import locked


@dataclass(frozen=True)
class KeptCache:
    """Decoded images on disk: their file, its bytes, and when a process opened it last, in seconds since 1970."""

    pixels: Path
    size: int
    used: float

    def remove(self, dry_run: bool = False) -> bool:
        """Delete the images and their entry, or see if that can be done; False if a process writes or reads them.

        The lock file stays: it is empty, and another process may be waiting for it.
        """
        try:
            with locked(self.pixels.with_suffix(".lock"), wait=False), self.pixels.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # readers hold it shared
                if not dry_run:
                    self.pixels.with_suffix(".json").unlink(missing_ok=True)
                    self.pixels.unlink()
                return True
        except (BlockingIOError, FileNotFoundError, PermissionError):  # in use, deleted meanwhile, or of others
            return False


def kept_caches(folder: Path) -> Iterator[KeptCache]:
    """Every cache in a folder of caches, the one used longest ago first."""
    found = []
    for path in folder.glob("*.u8"):
        with suppress(FileNotFoundError):  # another process deletes it
            found.append((path.stat(), path))
    for stat, path in sorted(found, key=lambda one: one[0].st_mtime):
        yield KeptCache(path, stat.st_size, stat.st_mtime)
