"""The data set `folder`: the user's own image files, nested as they like.

* `train/` and `test/` (or `val/`) at the root are the two sides; otherwise a seeded part of all images is
  held out.
* The first folder below the root, or below `train/` and `test/`, is the class, if every image lies in one
  and there are at least two, the same on both sides. Otherwise there are no labels.
"""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sslmlflow.data.cache import Cached, Source, cached
from sslmlflow.data.decode import BadImage, decode
from sslmlflow.data.scan import ImageFile, os_bytes, scan
from sslmlflow.data.source import DatasetSpec, ImageSets, LabelSets, draw
from sslmlflow.errors import ConfigError, UserError
from sslmlflow.texts import printable

SIDES = ("train", "test", "val")
OWN_SIZE = 32
MAX_BAD = 0.01  # share of the files that may be undecodable before it is an error
_RULES = 1  # raise it when the same files give other pixels, so that old caches are not used
_THREADS = min(8, os.cpu_count() or 1)


@dataclass(frozen=True)
class _Layout:
    """The files of each side, with the path below the side's folder, and what to tell of them."""

    train: list[ImageFile]
    test: list[ImageFile]
    classes: tuple[str, ...]  # empty: no labels
    depth: int  # of the folder that holds the class folders: 0 the root, 1 train/ and test/
    notes: tuple[str, ...]


def open_images(spec: DatasetSpec, cache: Path) -> ImageSets:
    """Open the images of the folder as RGB of one size, undecodable ones left out.

    Raises UserError for a folder without images and when more than 1 % of the files are undecodable.
    """
    layout = _layout(spec)
    train, test = _decoded(spec, layout, cache)
    notes = (*layout.notes, *_bad_notes(layout, train, test), *dict.fromkeys(train.notes + test.notes))
    return ImageSets("folder", train.images, test.images, notes)


def open_labels(spec: DatasetSpec, cache: Path) -> LabelSets | None:
    """Return the labels of the images that `open_images` gives, or None where the folders name no classes."""
    layout = _layout(spec)
    if not layout.classes:
        return None
    train, test = _decoded(spec, layout, cache)
    number = {name: label for label, name in enumerate(layout.classes)}

    def labels(files: list[ImageFile], side: Cached) -> NDArray[np.int64]:
        return np.array([number[files[index].parts[layout.depth]] for index in side.kept], np.int64)

    return LabelSets(labels(layout.train, train), labels(layout.test, test), layout.classes)


def _layout(spec: DatasetSpec) -> _Layout:
    """Find the files and divide them; nothing is decoded."""
    if spec.folder is None:
        raise ConfigError("data_dir=auto is not possible with dataset=folder. Allowed: the folder of the images.")
    found = scan(spec.folder)
    notes = list(found.notes())
    train, test, depth = _sides(found.files, spec, notes)
    if len(train) + len(test) < 2 or not train or not test:
        told = "".join(f"\n  {note}" for note in notes)
        raise UserError(
            f"{spec.folder} holds {len(train)} images to train on and {len(test)} to hold out; at least one "
            f"of each is needed. Name a folder with more image files (JPEG, PNG, TIFF, WebP ...).{told}"
        )
    classes, reason = _classes(train + test, depth)
    if reason and spec.labels == "auto":
        notes.append(f"no labels: {reason}")
    train = [train[i] for i in draw(len(train), spec.max_train, spec.seed, "train")]
    test = [test[i] for i in draw(len(test), spec.max_test, spec.seed, "test")]
    return _Layout(train, test, classes, depth, tuple(notes))


def _sides(files: list[ImageFile], spec: DatasetSpec, notes: list[str]) -> tuple[list[ImageFile], list[ImageFile], int]:
    """The files to train on, those held out, and the depth of the class folders."""
    inside = {name: [f for f in files if f.parts[0] == name and len(f.parts) > 1] for name in SIDES}
    held_out = inside["test"] or inside["val"]
    if inside["train"] and held_out:
        unused = len(files) - len(inside["train"]) - len(held_out)
        if unused:
            side = "test" if inside["test"] else "val"
            notes.append(f"left out {unused} images that lie neither in train/ nor in {side}/")
        return inside["train"], held_out, 1
    count = min(max(round(spec.test_fraction * len(files)), 1), max(len(files) - 1, 0))
    chosen = set(draw(len(files), count, spec.seed, "split").tolist())
    train = [file for index, file in enumerate(files) if index not in chosen]
    return train, [files[index] for index in sorted(chosen)], int(len(inside["train"]) == len(files))


def _classes(files: list[ImageFile], depth: int) -> tuple[tuple[str, ...], str]:
    """The sorted class names, or none and the reason."""
    if any(len(file.parts) < depth + 2 for file in files):
        return (), "some images lie in no class folder"
    by_side: dict[tuple[str, ...], set[str]] = {}
    for file in files:
        by_side.setdefault(file.parts[:depth], set()).add(file.parts[depth])
    names = set.union(*by_side.values())
    if len(names) < 2:
        return (), "there is only one class folder"
    if any(classes != names for classes in by_side.values()):
        return (), "the folders to train on and to test with hold different classes"
    return tuple(sorted(names, key=os.fsencode)), ""


def _decoded(spec: DatasetSpec, layout: _Layout, cache: Path) -> tuple[Cached, Cached]:
    assert spec.folder is not None
    size = OWN_SIZE if spec.image_size is None else spec.image_size
    train = cached(_source(spec.folder, layout.train, size), cache)
    test = cached(_source(spec.folder, layout.test, size), cache)
    count, bad = len(layout.train) + len(layout.test), _bad(layout, train, test)
    if len(bad) > MAX_BAD * count:
        raise UserError(
            f"{len(bad)} of {count} images cannot be decoded, more than {MAX_BAD:.0%}. Remove or mend them, "
            "or name another folder. The first are:" + "".join(f"\n  {line}" for line in bad[:10])
        )
    if not len(train.images) or not len(test.images):
        raise UserError("No image is left to train on, or none to hold out: " + "; ".join(bad[:10]))
    return train, test


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


def _bad(layout: _Layout, train: Cached, test: Cached) -> list[str]:
    """'path (reason)' for each undecodable file."""
    sides = ((layout.train, train), (layout.test, test))
    return [
        f"{printable('/'.join(files[index].parts))} ({reason})"
        for files, side in sides
        for index, reason in sorted(side.skipped.items())
    ]


def _bad_notes(layout: _Layout, train: Cached, test: Cached) -> tuple[str, ...]:
    bad = _bad(layout, train, test)
    return (f"skipped {len(bad)} files that cannot be decoded: {'; '.join(bad)}",) if bad else ()
