"""The data set `folder`: the user's own image files, nested as they like; `layout` divides them."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sslmlflow.data.cache import Cached, Source, cached
from sslmlflow.data.copies import copies, divided, image_hashes
from sslmlflow.data.decode import BadImage, decode
from sslmlflow.data.layout import Layout, counts_note, find_layout, path_order
from sslmlflow.data.scan import ImageFile, os_bytes
from sslmlflow.data.source import DatasetSpec, Images, ImageSets, JoinedImages, LabelSets, folder_name, subset
from sslmlflow.errors import UserError
from sslmlflow.texts import printable

OWN_SIZE = 32
MAX_BAD = 0.01  # share of the files that may be undecodable before it is an error
_RULES = 1  # raise it when the same files give other pixels, so that old caches are not used
_THREADS = min(8, os.cpu_count() or 1)


@dataclass(frozen=True)
class _Side:
    """The images of one part, and the file that each of them is from."""

    images: Images
    files: list[ImageFile]


def open_images(spec: DatasetSpec, cache: Path) -> ImageSets:
    """Open the images of the folder as RGB of one size, undecodable ones left out.

    Raises UserError for a folder without images and when more than 1 % of the files are undecodable.
    """
    layout = find_layout(spec)
    decoded = _decoded(spec, layout, cache)
    sides, divided_notes = _divided(spec, layout, decoded, cache)
    assert spec.folder is not None
    notes = (
        *layout.notes,
        *_bad_notes(layout, decoded),
        *dict.fromkeys(note for side in decoded for note in side.notes),
        *divided_notes,
        *counts_note(layout, [side.files for side in sides], spec.labels),
    )
    train, test, *third = (side.images for side in sides)
    return ImageSets(folder_name(spec.folder), train, test, notes, validation=third[0] if third else None)


def open_labels(spec: DatasetSpec, cache: Path) -> LabelSets | None:
    """Return the labels of the images that `open_images` gives, or None where the folders name no classes."""
    layout = find_layout(spec)
    if not layout.classes:
        return None
    sides, _ = _divided(spec, layout, _decoded(spec, layout, cache), cache)
    number = {name: label for label, name in enumerate(layout.classes)}
    train, test = (np.array([number[file.parts[layout.depth]] for file in side.files], np.int64) for side in sides[:2])
    return LabelSets(train, test, layout.classes)


def _divided(
    spec: DatasetSpec, layout: Layout, decoded: Sequence[Cached], cache: Path
) -> tuple[list[_Side], tuple[str, ...]]:
    """The parts as they are used: where the held-out images are drawn here, with identical ones on one side."""
    sides = [
        _Side(part.images, [files[index] for index in part.kept])
        for files, part in zip(layout.sides, decoded, strict=True)
    ]
    if not layout.drawn:
        return sides, ()
    train, test = sides
    hashes = np.concatenate([image_hashes(side.images, cache) for side in sides])
    identical = copies(hashes)
    if not identical:
        return sides, ()
    files = train.files + test.files
    order = np.array(path_order(files))
    held_out = order >= len(train.files)
    everything = JoinedImages(train.images, test.images)
    parts = [order[rows] for rows in divided(hashes[order], held_out, spec)]
    note = (
        f"{identical:,} of {len(files):,} images are identical to another: identical ones are on one side of the split"
    )
    return [_Side(subset(everything, rows), [files[row] for row in rows]) for rows in parts], (note,)


def _decoded(spec: DatasetSpec, layout: Layout, cache: Path) -> list[Cached]:
    assert spec.folder is not None
    size = OWN_SIZE if spec.image_size is None else spec.image_size
    sides = [cached(_source(spec.folder, files, size), cache) for files in layout.sides]
    count, bad = sum(map(len, layout.sides)), _bad(layout, sides)
    if len(bad) > MAX_BAD * count:
        raise UserError(
            f"{len(bad)} of {count} images cannot be decoded, more than {MAX_BAD:.0%}. Remove or mend them, "
            "or name another folder. The first are:" + "".join(f"\n  {line}" for line in bad[:10])
        )
    if not all(len(side.images) for side in sides):
        raise UserError("No image is left to train on, or none to hold out: " + "; ".join(bad[:10]))
    return sides


def _source(folder: Path, files: list[ImageFile], size: int) -> Source:
    digest = hashlib.sha256(f"{_RULES} {size} {folder.resolve()}".encode("utf-8", "surrogateescape"))
    for file in files:
        digest.update(repr((os_bytes(file.parts), file.size, file.mtime_ns)).encode())
    paths = [folder.joinpath(*file.parts) for file in files]
    return Source(digest.hexdigest(), len(files), (3, size, size), partial(_decode_all, paths, size))


def _decode_all(paths: list[Path], size: int, indices: NDArray[np.int64]) -> tuple[NDArray[np.uint8], dict[int, str]]:
    def attempt(index: int) -> NDArray[np.uint8] | str:
        try:
            return decode(paths[index], size)
        except BadImage as error:
            return str(error)
        except OSError as error:
            # The disk's fault, not the picture's: it may be readable again tomorrow, so it is not skipped.
            raise UserError(f"Cannot read {printable(str(paths[index]))}: {error.strerror}.") from error

    with ThreadPoolExecutor(_THREADS) as pool:
        results = list(pool.map(attempt, indices.tolist()))
    good = [result for result in results if not isinstance(result, str)]
    attempts = zip(indices.tolist(), results, strict=True)
    bad = {index: result for index, result in attempts if isinstance(result, str)}
    return np.array(good, np.uint8).reshape(-1, 3, size, size), bad


def _bad(layout: Layout, sides: Sequence[Cached]) -> list[str]:
    """'path (reason)' for each undecodable file."""
    return [
        f"{printable('/'.join(files[index].parts))} ({reason})"
        for files, side in zip(layout.sides, sides, strict=True)
        for index, reason in sorted(side.skipped.items())
    ]


def _bad_notes(layout: Layout, sides: Sequence[Cached]) -> tuple[str, ...]:
    bad = _bad(layout, sides)
    return (f"skipped {len(bad)} files that cannot be decoded: {'; '.join(bad)}",) if bad else ()
