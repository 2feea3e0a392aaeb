"""The parts and the classes of a folder of images, from the names of its folders alone; nothing is decoded.

* `train/` and `test/` or `val/` at the root, under any of their usual names, are the parts of a given split. With all
  three, label-free metrics are monitored on `val/` and probes are scored on `test/`. Without a given split, a seeded
  part of all images is held out.
* The first folder below the root, or below the parts, is the class, if every image lies in one and there are at least
  two, the same in both parts. Otherwise there are no labels.
"""

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sslmlflow.data.scan import ImageFile, os_bytes, scan
from sslmlflow.data.source import DatasetSpec, draw
from sslmlflow.errors import ConfigError, UserError
from sslmlflow.texts import printable

TRAIN, TEST, VALIDATION = "train", "test", "validation"
NAMES = {
    TRAIN: ("train", "training"),
    TEST: ("test", "testing", "eval", "evaluation", "holdout", "heldout"),
    VALIDATION: ("val", "valid", "validation", "dev"),
}
LISTED = 12  # classes that are printed one by one


@dataclass(frozen=True)
class Layout:
    """The files of each part, and what to print about them."""

    sides: tuple[list[ImageFile], ...]  # to train on, to score on and, with three given parts, to monitor on
    classes: tuple[str, ...]  # empty: no labels
    depth: int  # of the folder that holds the class folders: 0 the root, 1 the parts
    drawn: bool  # whether the held-out images are drawn here
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Parts:
    sides: tuple[list[ImageFile], ...]
    depth: int
    drawn: bool
    notes: tuple[str, ...]


def find_layout(spec: DatasetSpec) -> Layout:
    """Find the image files in `spec.folder` and divide them.

    Raises ConfigError without a folder, and UserError where it holds fewer than two images or an empty part.
    """
    if spec.folder is None:
        raise ConfigError("invalid value for data_dir: auto (with dataset=folder it must be the folder of the images)")
    found = scan(spec.folder)
    parts = _given(found.files) or _drawn(found.files, spec)
    notes = [*found.notes(), *parts.notes]
    train, test = parts.sides[:2]
    if not train or not test:
        listed = "".join(f"\n  {note}" for note in notes)
        raise UserError(
            f"{printable(spec.folder)} holds {len(train)} images to train on and {len(test)} to hold out; at least one "
            f"of each is needed. Name a folder with more image files (JPEG, PNG, TIFF, WebP ...).{listed}"
        )
    classes, reason = _classes(train + test, parts.depth)
    if reason and spec.labels == "auto":
        notes.append(f"no labels: {reason}")
    limits = (spec.max_train, "train"), (spec.max_test, "test"), (spec.max_test, "test")
    sides = tuple(
        [files[i] for i in draw(len(files), limit, spec.seed, part)]
        for files, (limit, part) in zip(parts.sides, limits, strict=False)
    )
    return Layout(sides, classes, parts.depth, parts.drawn, tuple(notes))


def role(name: str) -> str | None:
    """The part of a split that a folder's name stands for, if any.

    >>> role("Training_Set"), role("val2017"), role("held-out"), role("cats")
    ('train', 'validation', 'test', None)
    """
    return next((role for role, names in NAMES.items() if _stem(name) in names), None)


def _stem(name: str) -> str:
    """A folder's name without case, punctuation, year and such words as `set`."""
    letters = re.sub(r"[^a-z0-9]", "", name.lower())
    return re.sub(r"(set|split|images|data)?((19|20)\d\d)?$", "", letters)


def _parts_at_root(files: Sequence[ImageFile]) -> dict[str, list[str]]:
    """The folders at the root that are named as a part, by role; the most usual name first."""
    folders = sorted({file.parts[0] for file in files if len(file.parts) > 1}, key=os.fsencode)
    found: dict[str, list[str]] = {}
    for name in folders:
        if found_role := role(name):
            found.setdefault(found_role, []).append(name)
    for found_role, names in found.items():
        names.sort(key=lambda name: (NAMES[found_role].index(_stem(name)), name != _stem(name)))
    return found


def _given(files: Sequence[ImageFile]) -> _Parts | None:
    """The parts that folders at the root name, or None where they do not name both."""
    named = _parts_at_root(files)
    if TRAIN not in named or len(named) < 2:
        return None
    used = [named[part][0] for part in (TRAIN, TEST, VALIDATION) if part in named]
    sides = tuple([file for file in files if file.parts[0] == name and len(file.parts) > 1] for name in used)
    train, *held_out = (f"{printable(name)}/" for name in used)
    if len(held_out) == 2:
        score, monitor = held_out
        notes = [f"trained on {train}, probes scored on {score}, label-free metrics monitored on {monitor}"]
    else:
        notes = [f"trained on {train}, held out: {held_out[0]}"]
    if unused := len(files) - sum(map(len, sides)):
        further = [f"{printable(name)}/" for names in named.values() for name in names[1:]]
        why = f" (one folder is used per part, so not {', '.join(further)})" if further else ""
        lie = "1 image that lies" if unused == 1 else f"{unused} images that lie"
        notes.append(f"left out {lie} neither in {' nor in '.join((train, *held_out))}{why}")
    return _Parts(sides, 1, False, tuple(notes))


def _drawn(files: Sequence[ImageFile], spec: DatasetSpec) -> _Parts:
    """A part of all images, drawn at random, is held out."""
    named = [name for names in _parts_at_root(files).values() for name in names]
    listed = ", ".join(f"{printable(name)}/" for name in named)
    alone = bool(named) and all(len(file.parts) > 1 and file.parts[0] in named for file in files)
    notes = []
    if alone:
        notes.append(f"there is only {listed}: the held-out images are drawn from it")
    elif named:
        notes.append(f"not used as a split, which needs train/ and test/ or val/ in data_dir: {listed}")
    below = {file.parts[1]: file.parts[0] for file in reversed(files) if len(file.parts) > 2 and role(file.parts[1])}
    if not alone and len({role(name) for name in below}) > 1:
        paths = ", ".join(f"{printable(f'{parent}/{name}')}/" for name, parent in sorted(below.items()))
        notes.append(f"not used as a split, as they do not lie directly in data_dir: {paths}")
    count = min(max(round(spec.test_fraction * len(files)), 1), max(len(files) - 1, 0))
    chosen = set(draw(len(files), count, spec.seed, "split").tolist())
    train = [file for index, file in enumerate(files) if index not in chosen]
    return _Parts((train, [files[index] for index in sorted(chosen)]), int(alone), True, tuple(notes))


def _classes(files: Sequence[ImageFile], depth: int) -> tuple[tuple[str, ...], str]:
    """The sorted class names, or none and the reason."""
    if outside := next((file for file in files if len(file.parts) < depth + 2), None):
        return (), f"some images lie in no class folder, {printable('/'.join(outside.parts))} for example"
    by_side: dict[tuple[str, ...], set[str]] = {}
    for file in files:
        by_side.setdefault(file.parts[:depth], set()).add(file.parts[depth])
    names = set.union(*by_side.values())
    if len(names) < 2:
        return (), "there is only one class folder"
    if any(classes != names for classes in by_side.values()):
        return (), "the folders to train on and to test with hold different classes"
    return tuple(sorted(names, key=os.fsencode)), ""


def counts_note(layout: Layout, sides: Sequence[Sequence[ImageFile]], labels: str) -> tuple[str, ...]:
    """A sentence with the images in each class folder, part by part; none where there are no folders."""
    depth = layout.depth
    counts = [Counter(file.parts[depth] if len(file.parts) > depth + 1 else "" for file in side) for side in sides]
    total = sum(counts, Counter[str]())
    if set(total) <= {""}:
        return ()
    names = sorted(total, key=lambda name: (not name, os.fsencode(name)))

    def listed(name: str) -> str:
        return f"{printable(name) or 'in no folder'} {' + '.join(f'{count[name]:,}' for count in counts)}"

    what = "classes" if layout.classes and labels == "auto" else "folders"
    order = "training + held-out" if len(counts) == 2 else "training + scored + monitored"
    text = f"{len(set(total) - {''})} {what} ({order} images): {', '.join(map(listed, names[:LISTED]))}"
    if len(names) > LISTED:
        least, most = min(names, key=lambda name: total[name]), max(names, key=lambda name: total[name])
        extremes = f"smallest: {listed(least)}, largest: {listed(most)}"
        alike = total[least] == total[most]
        text += f" and {len(names) - LISTED:,} more; {f'each of {total[most]:,} images' if alike else extremes}"
    return (text,)


def path_order(files: Sequence[ImageFile]) -> list[int]:
    """The indices of the files, sorted by path as `scan` sorts."""
    return sorted(range(len(files)), key=lambda index: os_bytes(files[index].parts))
