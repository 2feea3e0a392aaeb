"""The data set `digit-scenes`: handwritten digits in small noisy scenes, made offline in about a second.

Each of the 1,797 scans of 8 x 8 pixels that come with scikit-learn (load_digits; the test part of Alpaydin
and Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998) is drawn into two scenes of 32 x 32
pixels, at a random place, size, angle and contrast on a dark noisy ground. A digit is easy to name for a
person and hard for a linear model of the pixels (logistic regression of standardised pixels: 16 % of the
held-out scenes, 25 % with its penalty tuned), so an encoder has something to learn. All scenes of a scan
are on the same side: 80 % of the scans to train on, 20 % held out. The scenes are always the same ones.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslmlflow.data.decode import resized
from sslmlflow.data.source import ArrayImages, DatasetSpec, Images, ImageSets, LabelSets, draw, subset

SIDE = 32
SCENES_PER_SCAN = 2
SCANS = 1_797
TEST_FRACTION = 0.2
_SEED = 20_240_501


def open_images(spec: DatasetSpec, cache: Path) -> ImageSets:
    """Open the scenes as gray images (1, 32, 32), or of the size asked for; `cache` is not needed."""
    pixels = _scenes()
    size = SIDE if spec.image_size is None else spec.image_size

    def images(scans: NDArray[np.int64], limit: int | None, part: str) -> Images:
        everything = ArrayImages(resized(pixels[_scenes_of(scans)], size))
        return everything if limit is None else subset(everything, _drawn(scans, limit, spec.seed, part))

    train, test = split()
    return ImageSets(spec.name, images(train, spec.max_train, "train"), images(test, spec.max_test, "test"), ())


def open_labels(spec: DatasetSpec, cache: Path) -> LabelSets | None:
    """Return the digit of each scene, in the order of `open_images`."""
    digits = _digits().target.astype(np.int64)

    def labels(scans: NDArray[np.int64], limit: int | None, part: str) -> NDArray[np.int64]:
        return np.asarray(digits[scan_of(scans)][_drawn(scans, limit, spec.seed, part)])

    train, test = split()
    classes = tuple("0123456789")
    return LabelSets(labels(train, spec.max_train, "train"), labels(test, spec.max_test, "test"), classes)


def split() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the scans (indices into load_digits) to train on and those held out."""
    order = np.random.default_rng(_SEED).permutation(SCANS)
    held_out = round(TEST_FRACTION * SCANS)
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def scan_of(scans: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the scan each scene shows, for the scenes drawn from `scans` in their order."""
    return np.repeat(scans, SCENES_PER_SCAN)


def _scenes_of(scans: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rows of `_scenes` drawn from `scans`: the two of a scan follow one another."""
    rows = scans[:, None] * SCENES_PER_SCAN + np.arange(SCENES_PER_SCAN)
    return np.asarray(rows.reshape(-1))


def _drawn(scans: NDArray[np.int64], limit: int | None, seed: int, part: str) -> NDArray[np.int64]:
    return draw(SCENES_PER_SCAN * len(scans), limit, seed, part)


@lru_cache(maxsize=1)
def _scenes() -> NDArray[np.uint8]:
    """Draw all scenes (n, 1, 32, 32), 0..255, read-only."""
    random = np.random.default_rng(_SEED + 1)
    scans = np.repeat(_digits().images / 16, SCENES_PER_SCAN, axis=0)
    n = len(scans)
    digit = _placed(scans, *_places(n, random))
    ground = random.uniform(10, 60, (n, 1, 1))
    contrast = random.uniform(80, 180, (n, 1, 1))
    noise = random.normal(0, 1, digit.shape) * random.uniform(4, 12, (n, 1, 1))
    pixels = np.rint(np.clip(ground + contrast * digit + noise, 0, 255)).astype(np.uint8)[:, None]
    pixels.setflags(write=False)
    return pixels


def _places(n: int, random: np.random.Generator) -> tuple[NDArray[np.float64], ...]:
    """Side (pixels), angle (radians) and centre (y, x) of each digit, its square within the scene."""
    side = random.uniform(14, 26, n)
    angle = np.deg2rad(random.uniform(-20, 20, n))
    centre = (SIDE - 1) / 2 + random.uniform(-0.5, 0.5, (2, n)) * (SIDE - side)
    return side, angle, centre[0], centre[1]


def _placed(
    scans: NDArray[np.float64],
    side: NDArray[np.float64],
    angle: NDArray[np.float64],
    y: NDArray[np.float64],
    x: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Draw scans (n, 8, 8) into scenes (n, 32, 32): each pixel looks up where it lies in its scan."""
    n, cells, _ = scans.shape
    rows, columns = np.mgrid[:SIDE, :SIDE]
    dy, dx = rows - y[:, None, None], columns - x[:, None, None]
    cos, sin = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    scale = (cells / side)[:, None, None]
    v = (cos * dy - sin * dx) * scale + (cells - 1) / 2
    u = (sin * dy + cos * dx) * scale + (cells - 1) / 2
    # A ring of two empty cells around the scan: whatever lies outside is clipped onto it.
    padded = np.pad(scans, ((0, 0), (2, 2), (2, 2)))
    v, u = np.clip(v + 2, 0, cells + 2.999), np.clip(u + 2, 0, cells + 2.999)
    top, left = v.astype(np.int64), u.astype(np.int64)
    fv, fu = v - top, u - left
    scan = np.arange(n)[:, None, None]
    upper = padded[scan, top, left] * (1 - fu) + padded[scan, top, left + 1] * fu
    lower = padded[scan, top + 1, left] * (1 - fu) + padded[scan, top + 1, left + 1] * fu
    return np.asarray(upper * (1 - fv) + lower * fv)


def _digits() -> Any:
    from sklearn.datasets import load_digits  # takes a second or two to import, and scenes are made once

    return load_digits()
