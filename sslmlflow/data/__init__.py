"""Open a data set by its name: its images and, apart from them, its labels.

Training opens images only; labels are opened by what reports how good the label-free numbers are.
"""

import difflib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from sslmlflow.data import binary_sets, digit_scenes, folder
from sslmlflow.data.copies import copies_across
from sslmlflow.data.source import DatasetSpec, ImageSets, LabelSets
from sslmlflow.errors import ConfigError


class Dataset(NamedTuple):
    """How the images and how the labels of a data set are opened."""

    images: Callable[[DatasetSpec, Path], ImageSets]
    labels: Callable[[DatasetSpec, Path], LabelSets | None]


_BINARY = Dataset(binary_sets.open_images, binary_sets.open_labels)
DATASETS: dict[str, Dataset] = {
    "digit-scenes": Dataset(digit_scenes.open_images, digit_scenes.open_labels),
    "cifar10": _BINARY,
    "cifar100": _BINARY,
    "stl10": _BINARY,
    "folder": Dataset(folder.open_images, folder.open_labels),
}


def open_images(spec: DatasetSpec, cache: Path) -> ImageSets:
    """Open the images of a data set; decoded ones are kept in the folder `cache`.

    A note counts the held-out images that are also trained on, pixel for pixel.

    Raises ConfigError for an unknown name and UserError when the images cannot be had.
    """
    sets = _dataset(spec.name).images(spec, cache)
    return replace(sets, notes=(*sets.notes, *copies_across(sets, cache)))


def open_labels(spec: DatasetSpec, cache: Path) -> LabelSets | None:
    """Return the labels of the images that `open_images` gives for the same `spec`, in the same order.

    None when the data set has no labels, or when `spec.labels` is "none".
    """
    return None if spec.labels == "none" else _dataset(spec.name).labels(spec, cache)


def _dataset(name: str) -> Dataset:
    if name not in DATASETS:
        near = difflib.get_close_matches(name, DATASETS, n=1)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        raise ConfigError(f"There is no data set '{name}'; there are {', '.join(DATASETS)}.{hint}")
    return DATASETS[name]
