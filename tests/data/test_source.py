"""Images by index, subsets, draws and fingerprints."""

import numpy as np
import pytest

from sslmlflow.data.source import ArrayImages, draw, subset


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (10, 3, 4, 5), dtype=np.uint8)


def test_reading_gives_the_images_asked_for(pixels: np.ndarray) -> None:
    images = ArrayImages(pixels)
    read = images.read(np.array([7, 0, 7]))
    assert images.shape == (3, 4, 5)
    assert len(images) == 10
    assert (read == np.stack([pixels[7], pixels[0], pixels[7]])).all()
    read[:] = 0  # a fresh array: what is done to it does not reach the images
    assert (images.read(np.array([7]))[0] == pixels[7]).all()


def test_subsets_of_subsets(pixels: np.ndarray) -> None:
    inner = subset(subset(ArrayImages(pixels), np.array([8, 3, 5])), np.array([2, 0]))
    assert len(inner) == 2
    assert (inner.read(np.arange(2)) == pixels[[5, 8]]).all()


def test_fingerprints_tell_pixels_order_and_size_apart(pixels: np.ndarray) -> None:
    images = ArrayImages(pixels)
    other = pixels.copy()
    other[9, 2, 3, 4] ^= 1
    different = [
        images,
        ArrayImages(other),
        ArrayImages(pixels[::-1]),
        ArrayImages(pixels[:9]),
        ArrayImages(pixels.reshape(10, 3, 5, 4)),
        subset(images, np.array([0, 1])),
        subset(images, np.array([1, 0])),
    ]
    assert len({images.fingerprint for images in different}) == len(different)
    assert ArrayImages(pixels.copy()).fingerprint == images.fingerprint


def test_only_bytes_of_four_axes_are_images(pixels: np.ndarray) -> None:
    for wrong in (pixels[0], pixels.astype(np.float32)):
        with pytest.raises(ValueError, match="uint8"):
            ArrayImages(wrong)


def test_draws_are_nested_distinct_and_without_preference() -> None:
    small, large = (draw(1000, limit, seed=3, part="train") for limit in (100, 300))
    assert len(set(large.tolist())) == 300
    assert set(small.tolist()) < set(large.tolist())
    assert (np.diff(large) > 0).all()
    assert 400 < large.mean() < 600
    assert draw(1000, 100, seed=4, part="train").tolist() != small.tolist()
    assert draw(1000, 100, seed=3, part="test").tolist() != small.tolist()
    assert draw(5, 100, seed=3, part="test").tolist() == [0, 1, 2, 3, 4]
