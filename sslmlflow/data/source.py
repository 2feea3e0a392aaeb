"""What a data set is: images that can be read by index and, apart from them, labels."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

_PARTS = {"split": 0, "train": 1, "test": 2}


class Images(Protocol):
    """Images of one shape, read by index; nothing here knows of a label."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels (1 or 3), height and width in pixels."""

    @property
    def fingerprint(self) -> str:
        """Hex digest that changes when a pixel, the order or the size changes."""

    def __len__(self) -> int: ...

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the images `indices` (b,) as a fresh array (b, channels, height, width), 0..255."""


class ArrayImages:
    """Images (n, c, h, w) held in an array or a memory map; the fingerprint is that of the pixels."""

    def __init__(self, pixels: NDArray[np.uint8], fingerprint: str | None = None) -> None:
        if pixels.ndim != 4 or pixels.dtype != np.uint8:
            raise ValueError(f"images must be uint8 (n, c, h, w), got {pixels.dtype} {pixels.shape}")
        self._pixels = pixels
        self.shape: tuple[int, int, int] = (pixels.shape[1], pixels.shape[2], pixels.shape[3])
        if fingerprint is None:
            digest = pixel_digest(self.shape)
            digest.update(np.ascontiguousarray(pixels).data)
            fingerprint = digest.hexdigest()
        self.fingerprint: str = fingerprint

    def __len__(self) -> int:
        return len(self._pixels)

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        return np.asarray(self._pixels[indices])


class SubsetImages:
    """The images `indices` of other images, in that order."""

    def __init__(self, images: Images, indices: NDArray[np.int64]) -> None:
        self._images = images
        self._indices = np.array(indices, dtype=np.int64)
        self.shape: tuple[int, int, int] = images.shape
        digest = hashlib.sha256(f"subset of {images.fingerprint}:".encode())
        digest.update(self._indices.astype("<i8").data)
        self.fingerprint: str = digest.hexdigest()

    def __len__(self) -> int:
        return len(self._indices)

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        return self._images.read(self._indices[indices])


def subset(images: Images, indices: NDArray[np.int64]) -> Images:
    """Return the images `indices` of `images`, in that order.

    >>> four = ArrayImages(np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1))
    >>> subset(four, np.array([3, 1])).read(np.array([0])).item()
    3
    """
    return SubsetImages(images, indices)


class JoinedImages:
    """The images of two others of one shape, the second after the first."""

    def __init__(self, first: Images, second: Images) -> None:
        self._first = first
        self._second = second
        self.shape: tuple[int, int, int] = first.shape
        self.fingerprint: str = hashlib.sha256(f"{first.fingerprint} and {second.fingerprint}".encode()).hexdigest()

    def __len__(self) -> int:
        return len(self._first) + len(self._second)

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        pixels = np.empty((len(indices), *self.shape), np.uint8)
        inside = indices < len(self._first)
        pixels[inside] = self._first.read(indices[inside])
        pixels[~inside] = self._second.read(indices[~inside] - len(self._first))
        return pixels


@dataclass(frozen=True)
class ImageSets:
    """The images to train on, those held out, and what the user should know about them."""

    name: str
    train: Images
    test: Images  # probes and evaluations are scored on them
    notes: tuple[str, ...]
    validation: Images | None = None  # a third part, if the data set has one
    bit_depth: int | None = None  # with which gray of more than 8 bits was read; None: there was no such image
    bad: tuple[tuple[str, str], ...] = ()  # path and reason of each file that could not be decoded

    @property
    def monitored(self) -> Images:
        """The held-out images on which label-free metrics are measured while training."""
        return self.test if self.validation is None else self.validation

    @property
    def fingerprints(self) -> dict[str, str]:
        """The images of which a result is a function, by their use."""
        found = {"training images": self.train.fingerprint[:16], "held-out images": self.test.fingerprint[:16]}
        return found if self.validation is None else {**found, "monitored images": self.validation.fingerprint[:16]}


@dataclass(frozen=True)
class LabelSets:
    """The class of each image of the same `DatasetSpec`, in the same order; -1 where it is not known."""

    train: NDArray[np.int64]
    test: NDArray[np.int64]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class DatasetSpec:
    """Which images to open, and how many of them."""

    name: str
    folder: Path | None  # root of the `folder` data set; for the others, where the archives lie
    download: bool
    image_size: int | None  # pixels; None: the data set's own, 32 for `folder`
    max_train: int | None
    max_test: int | None
    test_fraction: float = 0.1  # of a `folder` without train/ and test/
    seed: int = 0
    labels: str = "auto"  # or "none"
    bit_depth: int | None = None  # None: the smallest that holds every value
    max_megapixels: float = 64.0
    on_bad_image: str = "skip"  # or "stop"
    max_bad_share: float = 0.01


def draw(count: int, limit: int | None, seed: int, part: str) -> NDArray[np.int64]:
    """Return `limit` of the indices 0..count-1, drawn at random and sorted; all of them without a limit.

    The draw depends on `seed` and `part` ("split", "train" or "test") only, and a smaller limit draws a
    subset of what a larger one draws.

    >>> draw(3, None, seed=0, part="train").tolist()
    [0, 1, 2]
    """
    order = np.random.default_rng([seed, _PARTS[part]]).permutation(count)
    return np.sort(order[:limit]).astype(np.int64)


def pixel_digest(shape: tuple[int, int, int]) -> "hashlib._Hash":
    """Return the running digest that, fed with all pixels in order, gives the fingerprint of images."""
    return hashlib.sha256(f"images of {shape[0]} x {shape[1]} x {shape[2]}:".encode())
