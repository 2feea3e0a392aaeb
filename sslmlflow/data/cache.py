"""Decoded images in a memory-mapped file, made once and shared by all processes.

Each set of pixels has a file `<key>.u8` (raw uint8 images) and an entry `<key>.json` that says what they
are; the entry is written last, so that pixels without an entry do not count. A lock held while writing
lets several processes ask at once, and tells which temporary files nobody is writing any more.
"""

import errno
import fcntl
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from sslmlflow.data.source import ArrayImages, Images, pixel_digest
from sslmlflow.errors import UserError
from sslmlflow.files import private, private_folder

CHUNK = 512  # images decoded and written at a time
SPARE_BYTES = 1 << 30  # left free on the disk: checkpoints need room, too


class Decoded(NamedTuple):
    """Images that could be decoded, in order; for each of the others its index and the reason.

    `odd` holds what the decoder warned of while it read an image, by index.
    """

    pixels: NDArray[np.uint8]
    bad: dict[int, str]
    odd: dict[int, str]


@dataclass(frozen=True)
class Source:
    """Pixels that can be decoded again at any time.

    `decode` takes indices below `count`. `key` names the pixels: other pixels, another key.
    """

    key: str
    count: int
    shape: tuple[int, int, int]
    decode: Callable[[NDArray[np.int64]], Decoded]


@dataclass(frozen=True)
class Cached:
    """The images of a source without the undecodable: `kept` are their indices in the source."""

    images: Images
    kept: NDArray[np.int64]
    skipped: dict[int, str]
    odd: dict[int, str]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Entry:
    fingerprint: str
    skipped: dict[int, str]
    odd: dict[int, str]


class StreamedImages:
    """Images decoded each time they are read."""

    def __init__(self, source: Source, kept: NDArray[np.int64], fingerprint: str) -> None:
        self._source = source
        self._kept = kept
        self.shape: tuple[int, int, int] = source.shape
        self.fingerprint: str = fingerprint

    def __len__(self) -> int:
        return len(self._kept)

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        pixels, bad, _ = self._source.decode(self._kept[indices])
        if bad:
            reason = next(iter(bad.values()))
            raise UserError(f"An image that was readable before is not any more: {reason}. Start again.")
        return pixels


def cached(source: Source, cache: Path) -> Cached:
    """Decode every image of `source` once and return them from the cache folder.

    Where the disk lacks room the images are streamed: decoded again at each reading, and a note says so.
    """
    private_folder(cache)
    _sweep(cache)
    pixels = cache / f"{source.key}.u8"
    with locked(_lock_of(cache, source.key)):
        entry = _read_entry(pixels.with_suffix(".json"))
        wanted = source.count * math.prod(source.shape)
        room = pixels.exists() or shutil.disk_usage(cache).free >= wanted + SPARE_BYTES
        if entry is None or (room and not pixels.exists()):
            entry = _build(source, pixels, write=room)
        kept = np.setdiff1d(np.arange(source.count), list(entry.skipped)).astype(np.int64)
        images: Images
        if room:  # mapped before another process may delete the file
            images = ArrayImages(_mapped(pixels, (len(kept), *source.shape)), entry.fingerprint)
            return Cached(images, kept, entry.skipped, entry.odd, ())
    images = StreamedImages(source, kept, entry.fingerprint)
    note = (
        f"the disk of {cache} lacks room for {wanted / 1e9:.1f} GB of decoded images (and "
        f"{SPARE_BYTES / 1e9:.1f} GB to spare): they are decoded at each use, which is slower"
    )
    return Cached(images, kept, entry.skipped, entry.odd, (note,))


def _build(source: Source, pixels: Path, write: bool) -> _Entry:
    digest = pixel_digest(source.shape)
    skipped: dict[int, str] = {}
    odd: dict[int, str] = {}
    try:
        with replacing(pixels) if write else nullcontext() as file:
            starts = range(0, source.count, CHUNK)
            for start in tqdm(starts, "decoding images", unit_scale=CHUNK, disable=None):
                batch, bad, warned = source.decode(np.arange(start, min(start + CHUNK, source.count)))
                skipped.update(bad)
                odd.update(warned)
                digest.update(np.ascontiguousarray(batch).data)
                if file is not None:
                    file.write(np.ascontiguousarray(batch).data)
        entry = _Entry(digest.hexdigest(), skipped, odd)
        with replacing(pixels.with_suffix(".json")) as file:
            file.write(json.dumps(asdict(entry)).encode())
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(f"The disk of {pixels.parent} is full. Free some room and start again.") from error
    return entry


def _read_entry(path: Path) -> _Entry | None:
    if not path.exists():
        return None
    try:
        fields = json.loads(path.read_bytes())
        found = fields["skipped"], fields.get("odd", {})  # earlier releases kept no warnings
        skipped, odd = ({int(index): text for index, text in texts.items()} for texts in found)
        return _Entry(fields["fingerprint"], skipped, odd)
    except (ValueError, KeyError, TypeError, AttributeError):  # damaged: it is made again
        return None


def _mapped(path: Path, shape: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    size = path.stat().st_size
    if size != math.prod(shape):
        raise UserError(f"{path} holds {size} bytes, not {math.prod(shape)}: delete it and start again.")
    if size == 0:  # an empty file cannot be mapped
        return np.empty(shape, np.uint8)
    with suppress(PermissionError):  # the folder may be another user's
        os.utime(path)  # when it was used last
    with path.open("rb") as file:
        # The mapping keeps the open file, and with it this lock, so that `prune` sees who reads it.
        fcntl.flock(file, fcntl.LOCK_SH)
        return np.memmap(file, np.uint8, mode="r", shape=shape)


@contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[None]:
    """Hold the lock file `path` against all other processes; raise BlockingIOError if not to `wait`."""
    with open(path, "a", opener=private) as file:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield  # closing the file, or the end of the process, gives the lock back


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path` that becomes `path` when all is written, and never in part."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        with open(temporary, "wb", opener=private) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _lock_of(cache: Path, key: str) -> Path:
    return cache / f"{key}.lock"


def _sweep(cache: Path) -> None:
    """Remove the temporary files of processes that died: those whose lock nobody holds."""
    for temporary in cache.glob("*.tmp"):
        try:
            with locked(_lock_of(cache, temporary.name.split(".")[0]), wait=False):
                temporary.unlink(missing_ok=True)
        except BlockingIOError:
            continue  # somebody is writing it
