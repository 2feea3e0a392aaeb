"""The data set `folder`: the user's own image files, nested as they like.

* `train/` and `test/` (or `val/`) at the root are the two sides; otherwise a seeded part of all images is
  held out.
* The first folder below the root, or below `train/` and `test/`, is the class, if every image lies in one
  and there are at least two, the same on both sides. Otherwise there are no labels.
"""

import hashlib
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sslmlflow.data.cache import Cached, Source, cached
from sslmlflow.data.decoding import (
    DeeperError,
    How,
    bad_list,
    decode_files,
    first_bad,
    odd_notes,
    sampled_depth,
    stopped,
)
from sslmlflow.data.scan import ImageFile, os_bytes, scan
from sslmlflow.data.source import DatasetSpec, ImageSets, LabelSets, draw
from sslmlflow.errors import ConfigError, UserError
from sslmlflow.files import write_atomically
from sslmlflow.rules import DECODING
from sslmlflow.texts import printable

SIDES = ("train", "test", "val")
OWN_SIZE = 32


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

    Raises UserError for a folder without images, and when too many files are undecodable.
    """
    layout = _layout(spec)
    train, test, bit_depth = _decoded(spec, layout, cache)
    bad = _texts(layout, train.skipped, test.skipped)
    notes = [*layout.notes, *_bad_notes(bad), *odd_notes(dict(_texts(layout, train.odd, test.odd)))]
    if bit_depth:
        found = ", the fewest bits that hold every value" if spec.bit_depth is None else ""
        notes.append(f"bit_depth={bit_depth}{found}: gray of more than 8 bits is scaled from 0..{2**bit_depth - 1}")
    notes += dict.fromkeys(train.notes + test.notes)
    return ImageSets("folder", train.images, test.images, tuple(notes), bit_depth, bad)


def open_labels(spec: DatasetSpec, cache: Path) -> LabelSets | None:
    """Return the labels of the images that `open_images` gives, or None where the folders name no classes."""
    layout = _layout(spec)
    if not layout.classes:
        return None
    train, test, _ = _decoded(spec, layout, cache)
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


def _decoded(spec: DatasetSpec, layout: _Layout, cache: Path) -> tuple[Cached, Cached, int | None]:
    """The images of both sides, and the bit depth with which those above 8 bits were read, if any."""
    train, test, bit_depth = _of_one_depth(spec, layout, cache)
    bad = _texts(layout, train.skipped, test.skipped)
    if bad and spec.on_bad_image == "stop":  # the cache was made by an opening that skipped
        path, reason = bad[0]
        raise stopped(f"{spec.folder}/{path}", reason)
    count = len(layout.train) + len(layout.test)
    if len(bad) > spec.max_bad_share * count:
        kept = cache / f"bad-{_key(spec, layout.train + layout.test)[:16]}.txt"
        write_atomically(kept, bad_list(bad).encode())
        raise UserError(
            f"{len(bad):,} of {count:,} images cannot be decoded, more than max_bad_share={spec.max_bad_share:g} "
            f"allows. Remove or repair them ({kept} lists all), name another folder, or allow more. The first are:"
            + "".join(f"\n  {line}" for line in first_bad(bad))
        )
    if not len(train.images) or not len(test.images):
        raise UserError("No image is left to train on, or none to hold out: " + "; ".join(first_bad(bad)))
    return train, test, bit_depth or None


def _of_one_depth(spec: DatasetSpec, layout: _Layout, cache: Path) -> tuple[Cached, Cached, int]:
    """Decode both sides with the bit depth that is given, or with the smallest that holds every value; 0: none needed.

    What was found is kept in the cache, so that no time is lost again by a guess that is too small, and so that the
    same images are not decoded twice if the same depth is given later.
    """
    assert spec.folder is not None
    files = layout.train + layout.test
    found = cache / f"{_key(spec, files)}.depth"
    known = int(found.read_text()) if found.exists() else None
    if spec.bit_depth is not None:
        found_the_same = known in (0, spec.bit_depth)
        depth = known if known is not None and found_the_same else spec.bit_depth
        return *_sides_decoded(spec, layout, cache, depth, auto=found_the_same), spec.bit_depth
    depth = sampled_depth(_paths(spec.folder, files), spec.max_megapixels) if known is None else known
    while True:
        try:
            train, test = _sides_decoded(spec, layout, cache, depth, auto=True)
            break
        except DeeperError as error:
            depth = error.needed
    if known is None:
        write_atomically(found, str(depth).encode())
    return train, test, depth


def _sides_decoded(
    spec: DatasetSpec, layout: _Layout, cache: Path, bit_depth: int, auto: bool
) -> tuple[Cached, Cached]:
    train = cached(_source(spec, layout.train, bit_depth, auto), cache)
    return train, cached(_source(spec, layout.test, bit_depth, auto), cache)


def _source(spec: DatasetSpec, files: list[ImageFile], bit_depth: int, auto: bool) -> Source:
    assert spec.folder is not None
    size = OWN_SIZE if spec.image_size is None else spec.image_size
    how = How(size, bit_depth, auto, spec.max_megapixels, spec.on_bad_image)
    read = partial(decode_files, _paths(spec.folder, files), how)
    return Source(_key(spec, files, size, bit_depth, auto), len(files), (3, size, size), read)


def _paths(folder: Path, files: list[ImageFile]) -> list[Path]:
    return [folder.joinpath(*file.parts) for file in files]


def _key(spec: DatasetSpec, files: list[ImageFile], *how: object) -> str:
    """Another key for other files, and for each other way to decode them."""
    assert spec.folder is not None
    rules = f"{DECODING} {how} {spec.max_megapixels} {spec.folder.resolve()}"
    digest = hashlib.sha256(rules.encode("utf-8", "surrogateescape"))
    for file in files:
        digest.update(repr((os_bytes(file.parts), file.size, file.mtime_ns)).encode())
    return digest.hexdigest()


def _texts(layout: _Layout, train: dict[int, str], test: dict[int, str]) -> tuple[tuple[str, str], ...]:
    """Path and text of each file that has one, first those of the training side."""
    sides = ((layout.train, train), (layout.test, test))
    return tuple(
        (printable("/".join(files[index].parts)), text)
        for files, texts in sides
        for index, text in sorted(texts.items())
    )


def _bad_notes(bad: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    return (f"skipped {len(bad):,} files that cannot be decoded: {'; '.join(first_bad(bad))}",) if bad else ()
