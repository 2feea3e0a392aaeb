"""The data set `folder`: the user's own image files, nested as they like; `layout` divides them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sslmlflow.data.cache import Cached
from sslmlflow.data.copies import copies, divided, image_hashes
from sslmlflow.data.decoded_folder import decoded_folder
from sslmlflow.data.layout import Layout, counts_note, find_layout, path_order
from sslmlflow.data.scan import ImageFile
from sslmlflow.data.source import DatasetSpec, Images, ImageSets, JoinedImages, LabelSets, subset
from sslmlflow.texts import folder_name


@dataclass(frozen=True)
class _Side:
    """The images of one part, and the file that each of them is from."""

    images: Images
    files: list[ImageFile]


def open_images(spec: DatasetSpec, cache: Path) -> ImageSets:
    """Open the images of the folder as RGB of one size, undecodable ones left out.

    Raises UserError for a folder without images, and when too many files are undecodable.
    """
    layout = find_layout(spec)
    decoded = decoded_folder(spec, layout, cache)
    assert spec.folder is not None  # or there would be no layout
    sides, divided_notes = _divided(spec, layout, decoded.sides, cache)
    counts = counts_note(layout, [side.files for side in sides], spec.labels)
    train, test, *third = (side.images for side in sides)
    return ImageSets(
        folder_name(spec.folder),
        train,
        test,
        (*layout.notes, *decoded.notes, *divided_notes, *counts),
        validation=third[0] if third else None,
        bit_depth=decoded.bit_depth,
        bad=decoded.bad,
    )


def open_labels(spec: DatasetSpec, cache: Path) -> LabelSets | None:
    """Return the labels of the images that `open_images` gives, or None where the folders name no classes."""
    layout = find_layout(spec)
    if not layout.classes:
        return None
    sides, _ = _divided(spec, layout, decoded_folder(spec, layout, cache).sides, cache)
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
