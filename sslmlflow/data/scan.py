"""Find the image files below a folder: each once, in an order that does not depend on the machine."""

import heapq
import os
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sslmlflow.data.decode import READABLE, UNREADABLE
from sslmlflow.errors import UserError
from sslmlflow.texts import printable

_Link = tuple[tuple[bytes, ...], tuple[str, ...]]  # the path as bytes, to sort by, and as text


@dataclass(frozen=True)
class ImageFile:
    """An image file: its path below the scanned folder, and what tells that it changed."""

    parts: tuple[str, ...]
    size: int
    mtime_ns: int


@dataclass
class Scan:
    """What lies below a folder: the images, sorted by path, and what was left out."""

    files: list[ImageFile] = field(default_factory=list)
    hidden: int = 0
    repeated: int = 0
    left_out: Counter[str] = field(default_factory=Counter)  # by extension
    closed: list[str] = field(default_factory=list)  # "path (reason)"

    def notes(self) -> tuple[str, ...]:
        """Sentences on what was left out, for the user."""
        images = {ext: n for ext, n in self.left_out.items() if ext in UNREADABLE}
        others = {ext: n for ext, n in self.left_out.items() if ext not in UNREADABLE}
        lines = (
            (self.hidden, f"left out {self.hidden} hidden files and folders"),
            (
                self.repeated,
                f"left out {self.repeated} further names (links) of what was already seen",
            ),
            (images, f"left out images of formats that cannot be read here: {_listed(images)}"),
            (others, f"left out files that are no images: {_listed(others)}"),
            (self.closed, f"could not read {len(self.closed)}: {', '.join(self.closed[:10])}"),
        )
        return tuple(text for there, text in lines if there)


def scan(root: Path) -> Scan:
    """Walk the folder `root` and return its images.

    Names that begin with a dot are left out. Links are followed after everything else, and a file or
    folder that was met already (the same device and inode) does not count again: so a loop of links ends,
    and of several names the one that is no link stands. Raises UserError when `root` is no folder.
    """
    if not root.is_dir():
        raise UserError(f"{root} is not a folder. Name the folder that holds the images.")
    found = Scan()
    seen: set[tuple[int, int]] = set()
    waiting: list[tuple[str, ...]] = [()]
    links: list[_Link] = []
    while waiting or links:
        parts = waiting.pop() if waiting else heapq.heappop(links)[1]
        path = root.joinpath(*parts)
        try:
            status = path.stat()
            identity = (status.st_dev, status.st_ino)
            if stat.S_ISDIR(status.st_mode):
                if _first_time(identity, seen, found):
                    waiting.extend(_children(path, parts, links, found))
            elif _is_image(path, status, found) and _first_time(identity, seen, found):
                found.files.append(ImageFile(parts, status.st_size, status.st_mtime_ns))
        except OSError as error:
            found.closed.append(f"{printable('/'.join(parts) or str(root))} ({error.strerror})")
    found.files.sort(key=lambda file: os_bytes(file.parts))
    return found


def _children(path: Path, parts: tuple[str, ...], links: list[_Link], found: Scan) -> Iterator[tuple[str, ...]]:
    """The entries of a folder in reverse order (the last is taken first); links are put aside."""
    with os.scandir(path) as entries:
        for entry in sorted(entries, key=lambda entry: os.fsencode(entry.name), reverse=True):
            if entry.name.startswith("."):
                found.hidden += 1
            elif entry.is_symlink():
                heapq.heappush(links, (os_bytes((*parts, entry.name)), (*parts, entry.name)))
            else:
                yield (*parts, entry.name)


def _first_time(identity: tuple[int, int], seen: set[tuple[int, int]], found: Scan) -> bool:
    if identity in seen:
        found.repeated += 1
        return False
    seen.add(identity)
    return True


def _is_image(path: Path, status: os.stat_result, found: Scan) -> bool:
    if not stat.S_ISREG(status.st_mode) or path.suffix.lower() not in READABLE:
        found.left_out[path.suffix.lower()] += 1
        return False
    if not os.access(path, os.R_OK):
        raise PermissionError(0, "permission denied")
    return True


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{n} {printable(ext) or 'without extension'}" for ext, n in sorted(counts.items()))


def os_bytes(parts: tuple[str, ...]) -> tuple[bytes, ...]:
    """The path as the file system has it: file names need not be text."""
    return tuple(os.fsencode(part) for part in parts)
