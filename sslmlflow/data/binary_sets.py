"""The data sets `cifar10`, `cifar100` and `stl10`, read from their official binary archives.

CIFAR: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009. STL-10: A. Coates,
H. Lee and A. Ng, "An Analysis of Single-Layer Networks in Unsupervised Feature Learning", AISTATS 2011; its
training images are the labelled ones followed by the 100,000 unlabelled ones.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslmlflow.data.archives import unpacked
from sslmlflow.data.cache import Decoded, Source, cached
from sslmlflow.data.decode import resized
from sslmlflow.data.source import DatasetSpec, ImageSets, LabelSets, draw
from sslmlflow.digests import digest
from sslmlflow.errors import UserError
from sslmlflow.rules import DECODING


@dataclass(frozen=True)
class Part:
    """A file of `rows` images; its labels lie in the same records or in the file `labels`, if anywhere."""

    images: str
    rows: int
    labels: str | None = None


@dataclass(frozen=True)
class Archive:
    """An official archive and how its files are laid out."""

    url: str
    md5: str
    folder: str
    side: int  # pixels
    header: int  # bytes before the pixels of a record; the last of them is the label
    columns_first: bool  # pixels run down the columns
    train: tuple[Part, ...]
    test: tuple[Part, ...]
    class_names: str  # file with a name per line
    first_label: int = 0


_CIFAR, _STL = "https://www.cs.toronto.edu/~kriz/", "http://ai.stanford.edu/~acoates/stl10/"
ARCHIVES = {
    "cifar10": Archive(
        url=_CIFAR + "cifar-10-binary.tar.gz",
        md5="c32a1d4ab5d03f1284b67883e8d87530",
        folder="cifar-10-batches-bin",
        side=32,
        header=1,
        columns_first=False,
        train=tuple(Part(f"data_batch_{i}.bin", 10_000) for i in range(1, 6)),
        test=(Part("test_batch.bin", 10_000),),
        class_names="batches.meta.txt",
    ),
    "cifar100": Archive(
        url=_CIFAR + "cifar-100-binary.tar.gz",
        md5="03b5dce01913d631647c71ecec9e9cb8",
        folder="cifar-100-binary",
        side=32,
        header=2,  # the coarse label, then the fine one
        columns_first=False,
        train=(Part("train.bin", 50_000),),
        test=(Part("test.bin", 10_000),),
        class_names="fine_label_names.txt",
    ),
    "stl10": Archive(
        url=_STL + "stl10_binary.tar.gz",
        md5="91f7769df0f17e558f3565bffb0c7dfb",
        folder="stl10_binary",
        side=96,
        header=0,
        columns_first=True,
        train=(Part("train_X.bin", 5_000, "train_y.bin"), Part("unlabeled_X.bin", 100_000)),
        test=(Part("test_X.bin", 8_000, "test_y.bin"),),
        class_names="class_names.txt",
        first_label=1,
    ),
}


def open_images(spec: DatasetSpec, cache: Path, archives: Mapping[str, Archive] = ARCHIVES) -> ImageSets:
    """Open the images as RGB (3, side, side), or of the size asked for.

    The archive is looked for in `spec.folder`, or in `downloads` in the cache folder. Raises UserError when
    it is missing and not to be downloaded, or damaged.
    """
    archive = archives[spec.name]
    folder = _folder(spec, cache, archive)
    train = cached(_source(spec, archive, folder, "train"), cache)
    test = cached(_source(spec, archive, folder, "test"), cache)
    return ImageSets(spec.name, train.images, test.images, tuple(dict.fromkeys(train.notes + test.notes)))


def open_labels(spec: DatasetSpec, cache: Path, archives: Mapping[str, Archive] = ARCHIVES) -> LabelSets | None:
    """Return the labels in the order of `open_images`; -1 for the unlabelled images of STL-10."""
    archive = archives[spec.name]
    folder = _folder(spec, cache, archive)
    path = folder / archive.class_names
    if not path.is_file():
        raise UserError(f"{path} is missing. Delete {folder} and unpack the archive again.")
    classes = tuple(path.read_text().split())

    def labels(part: str) -> NDArray[np.int64]:
        parts, rows = _rows(spec, archive, part)
        return np.concatenate([_labels(archive, folder, file, len(classes)) for file in parts])[rows]

    return LabelSets(labels("train"), labels("test"), classes)


def _folder(spec: DatasetSpec, cache: Path, archive: Archive) -> Path:
    return unpacked(archive, spec.folder or cache / "downloads", spec.download)


def _rows(spec: DatasetSpec, archive: Archive, part: str) -> tuple[tuple[Part, ...], NDArray[np.int64]]:
    """The files of "train" or "test" and the rows asked for, counted through all of them."""
    parts, limit = (archive.train, spec.max_train) if part == "train" else (archive.test, spec.max_test)
    return parts, draw(sum(file.rows for file in parts), limit, spec.seed, part)


def _source(spec: DatasetSpec, archive: Archive, folder: Path, part: str) -> Source:
    parts, rows = _rows(spec, archive, part)
    size = archive.side if spec.image_size is None else spec.image_size
    pixels = [_pixels(archive, folder, file) for file in parts]
    paths = [folder.resolve() / file.images for file in parts]
    fields = {
        "decoding": DECODING,
        "archive": asdict(archive),
        "size": size,
        "files": [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths],
        "rows": hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest(),
    }
    return Source(digest(fields), len(rows), (3, size, size), partial(_decode, pixels, rows, size))


def _decode(
    parts: Sequence[NDArray[np.uint8]], rows: NDArray[np.int64], size: int, indices: NDArray[np.int64]
) -> Decoded:
    wanted = rows[indices]
    pixels = np.empty((len(wanted), *parts[0].shape[1:]), np.uint8)
    start = 0
    for part in parts:
        inside = (wanted >= start) & (wanted < start + len(part))
        pixels[inside] = part[wanted[inside] - start]
        start += len(part)
    return Decoded(resized(pixels, size), {}, {})


def _records(path: Path, rows: int, length: int) -> NDArray[np.uint8]:
    """The file as a memory map (rows, length)."""
    size = path.stat().st_size if path.is_file() else 0
    if size != rows * length:
        raise UserError(
            f"{path} holds {size} bytes instead of {rows * length}: it is missing, truncated or not the official "
            f"file. Delete {path.parent} and unpack the archive again."
        )
    return np.memmap(path, np.uint8, mode="r", shape=(rows, length))


def _pixels(archive: Archive, folder: Path, part: Part) -> NDArray[np.uint8]:
    """The images of a file (rows, 3, side, side): a view of the memory map, nothing is copied."""
    side = archive.side
    records = _records(folder / part.images, part.rows, archive.header + 3 * side * side)
    images = records[:, archive.header :].reshape(part.rows, 3, side, side)
    return images.swapaxes(2, 3) if archive.columns_first else images


def _labels(archive: Archive, folder: Path, part: Part, classes: int) -> NDArray[np.int64]:
    labels: NDArray[Any]
    if archive.header:
        records = _records(folder / part.images, part.rows, archive.header + 3 * archive.side**2)
        labels = records[:, archive.header - 1]
    elif part.labels:
        labels = _records(folder / part.labels, part.rows, 1)[:, 0]
    else:
        return np.full(part.rows, -1, np.int64)
    labels = labels.astype(np.int64) - archive.first_label
    if labels.min() < 0 or labels.max() >= classes:
        raise UserError(f"{folder} holds labels outside of its {classes} classes: unpack the archive again.")
    return labels
