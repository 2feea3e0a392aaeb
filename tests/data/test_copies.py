"""Identical images stay on one side of a drawn split, and copies across a given one are counted."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from sslmlflow.data import copies, open_images
from sslmlflow.data.copies import image_hashes, keep_together
from sslmlflow.data.near_copies import near_copies
from sslmlflow.data.source import ArrayImages, Images
from tests.data.test_folder import COLOURS, assert_aligned, everything, put, put_classes, spec

Pixels = np.ndarray


def pictures(images: Images) -> list[bytes]:
    return [image.tobytes() for image in everything(images)]


def put_twins(root: Path, count: int) -> None:
    """`count` pictures of each class, each as PNG and, some folders away, as BMP."""
    for name, colour in COLOURS.items():
        for i in range(count):
            put(root / name / f"{i:03}.png", colour, i)
            put(root / name / "again" / f"{i:03}.bmp", colour, i)


@pytest.mark.parametrize("seed", range(3))
def test_twins_are_on_one_side_and_keep_their_labels(tmp_path: Path, seed: int) -> None:
    put_twins(tmp_path / "root", 33)
    wanted = spec(tmp_path / "root", seed=seed)
    sets = open_images(wanted, tmp_path / "cache")
    assert len(sets.train) + len(sets.test) == 198
    assert 10 <= len(sets.test) <= 32
    assert not set(pictures(sets.train)) & set(pictures(sets.test))
    assert "198 of 198 images are identical to another: identical ones are on one side of the split" in sets.notes
    assert not any("probe accuracy" in note for note in sets.notes)
    assert_aligned(wanted, tmp_path / "cache")
    again = open_images(wanted, tmp_path / "cache")
    assert again.fingerprints == sets.fingerprints


def test_twins_do_not_exceed_a_limit(tmp_path: Path) -> None:
    put_twins(tmp_path / "root", 20)
    wanted = spec(tmp_path / "root", max_train=60, max_test=8, test_fraction=0.3)
    sets = open_images(wanted, tmp_path / "cache")
    assert len(sets.train) <= 60
    assert len(sets.test) <= 8
    assert not set(pictures(sets.train)) & set(pictures(sets.test))
    assert_aligned(wanted, tmp_path / "cache")


@pytest.mark.parametrize("seed", range(20))
def test_any_images_with_copies_are_divided_without_a_common_one(seed: int) -> None:
    random = np.random.default_rng(seed)
    count = int(random.integers(3, 200))
    hashes = random.integers(0, random.integers(2, 2 * count), count).astype(np.uint64)
    hashes[:2] = 0, 1
    held_out = random.permutation(count) < max(1, count // 10)
    moved = keep_together(hashes, held_out)
    assert not set(hashes[moved]) & set(hashes[~moved])
    assert moved.any()
    assert not moved.all()


def test_without_copies_nothing_moves() -> None:
    held_out = np.random.default_rng(0).random(50) < 0.2
    assert (keep_together(np.arange(50, dtype=np.uint64), held_out) == held_out).all()


def test_a_picture_with_more_copies_than_held_out_images_is_trained_on(tmp_path: Path) -> None:
    put_classes(tmp_path / "root", 10)
    for i in range(30):
        put(tmp_path / "root" / "blank" / f"{i:03}.png", (255, 255, 255))
    for seed in range(4):
        sets = open_images(spec(tmp_path / "root", seed=seed), tmp_path / "cache")
        assert 0 < len(sets.test) <= 6
        assert everything(sets.test).min(axis=(1, 2, 3)).max() < 255


def test_copies_across_a_given_split_are_counted(tmp_path: Path) -> None:
    put_classes(tmp_path / "root" / "train", 8)
    put_classes(tmp_path / "root" / "test", 10)
    for name, colour in COLOURS.items():
        put(tmp_path / "root" / "val" / f"{name}.bmp", colour, 3)
        put(tmp_path / "root" / "val" / f"{name}-new.bmp", colour, 50)
    notes = open_images(spec(tmp_path / "root"), tmp_path / "cache").notes
    assert any(note.startswith("24 of 30 held-out images are also among the training images") for note in notes)
    assert any(note.startswith("3 of 6 monitored images are also") for note in notes)


def test_hashes_of_many_images_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "KEPT_BYTES", 0)
    pixels = np.random.default_rng(0).integers(0, 256, (7, 3, 4, 4), dtype=np.uint8)
    pixels[5] = pixels[2]
    images = ArrayImages(pixels)
    first = image_hashes(images, tmp_path)
    assert len(set(first.tolist())) == 6
    monkeypatch.setattr(images, "read", lambda indices: pytest.fail("read again"))
    assert (image_hashes(images, tmp_path) == first).all()
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(b"damaged")
    monkeypatch.undo()
    monkeypatch.setattr(copies, "KEPT_BYTES", 0)
    assert (image_hashes(images, tmp_path) == first).all()


def jpeg(picture: Pixels) -> Pixels:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=90)
    return np.asarray(Image.open(file))


def resized(picture: Pixels) -> Pixels:
    side = len(picture)
    bigger = Image.fromarray(picture).resize((side + 30, side + 30), Image.Resampling.BICUBIC)
    return np.asarray(bigger.resize((side, side), Image.Resampling.BICUBIC))


def photographs() -> tuple[list[Pixels], list[Pixels]]:
    """Two lists of different squares of 96 pixels of two photographs."""
    tiles = [
        photograph[y : y + 96, x : x + 96]
        for photograph in load_sample_images().images
        for y in range(0, 330, 96)
        for x in range(0, 540, 96)
    ]
    return tiles[::2], tiles[1::2]


def small(tiles: list[Pixels]) -> Images:
    scaled = [np.asarray(Image.fromarray(tile).resize((32, 32), Image.Resampling.BICUBIC)) for tile in tiles]
    return ArrayImages(np.ascontiguousarray(np.stack(scaled).transpose(0, 3, 1, 2)))


@pytest.mark.parametrize(
    "change",
    [lambda tile: tile, jpeg, resized, lambda tile: np.clip(tile.astype(int) + 3, 0, 255).astype(np.uint8)],
    ids=["the same", "compressed", "resized", "brighter"],
)
def test_changed_copies_of_photographs_are_near(change: Callable[[Pixels], Pixels]) -> None:
    tiles, others = photographs()
    held_out = small([change(tile) for tile in tiles[:10]] + others[:10])
    near, compared, trained = near_copies(held_out, small(tiles))
    assert 9 <= near <= 10  # one shows plain sky, of which compression leaves another noise
    assert (compared, trained) == (20, len(tiles))


def test_different_photographs_and_flat_images_are_not_near() -> None:
    tiles, others = photographs()
    flat = [np.full_like(tiles[0], gray) for gray in (0, 100, 255)]
    assert near_copies(small(others + flat), small(tiles + flat))[0] == 0
