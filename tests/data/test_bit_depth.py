"""Gray of more than 8 bits keeps its levels, however many bits of its 16 or 32 it uses."""

import shutil
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sslmlflow.data import open_images
from sslmlflow.data.bad_image import BadImage
from sslmlflow.data.bit_depth import DEPTHS, TooDeep
from sslmlflow.data.decode import decode
from sslmlflow.data.oddities import noticed, watch
from sslmlflow.data.source import DatasetSpec, ImageSets
from sslmlflow.errors import UserError

RAMP = np.linspace(0, 1, 256).reshape(16, 16)


def files(folder: Path, count: int, largest: int, ext: str = "png") -> None:
    """Gray ramps from 0 to `largest` in 16 bits."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.fromarray(np.rint(RAMP * largest).astype(np.uint16)).save(folder / f"{number:04}.{ext}")


def opened(folder: Path, cache: Path, **changes: object) -> ImageSets:
    spec = DatasetSpec("folder", folder, download=False, image_size=16, max_train=None, max_test=None)
    return open_images(replace(spec, **changes), cache)


def levels(sets: ImageSets) -> int:
    return len(np.unique(sets.train.read(np.array([0]))))


@pytest.mark.parametrize("bit_depth", DEPTHS)
@pytest.mark.parametrize("ext", ["png", "tif", "pgm"])
def test_all_256_levels_are_kept(tmp_path: Path, bit_depth: int, ext: str) -> None:
    files(tmp_path / "root", 6, 2**bit_depth - 1, ext)
    sets = opened(tmp_path / "root", tmp_path / "cache")
    assert sets.bit_depth == bit_depth
    assert levels(sets) == 256
    assert any(f"bit_depth={bit_depth}," in note for note in sets.notes)
    given = opened(tmp_path / "root", tmp_path / "other", bit_depth=bit_depth)
    assert given.train.fingerprint == sets.train.fingerprint


def tiff(values: np.ndarray, signed: bool, zero_is_white: bool = False) -> bytes:
    """A gray TIFF of the byte order and bits of `values`, without compression."""
    order = ">" if values.dtype.byteorder == ">" else "<"
    height, width = values.shape
    tags = [(256, width), (257, height), (258, 8 * values.itemsize), (259, 1), (262, int(not zero_is_white))]
    tags += [(273, 200), (277, 1), (278, height), (279, values.nbytes), (339, 2 if signed else 1)]
    head = struct.pack(f"{order}2sHLH", b"II" if order == "<" else b"MM", 42, 8, len(tags))
    entries = b"".join(struct.pack(f"{order}HHLHH", tag, 3, 1, value, 0) for tag, value in tags)
    return (head + entries).ljust(200, b"\0") + values.tobytes()


@pytest.mark.parametrize("kind", ["<u2", ">u2", "<i2", ">i2", "<i4", ">i4", "<u4"])
def test_integers_of_every_kind_follow_the_same_rule(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "image.tif"
    path.write_bytes(tiff((RAMP * 1023).astype(kind), signed="i" in kind))
    pixels = decode(path, 16, bit_depth=10)[0]
    assert np.abs(pixels - 255 * RAMP).max() <= 0.6
    with pytest.raises(TooDeep, match=r"values up to 1023, more than bit_depth=8 holds \(0\.\.255\)"):
        decode(path, 16, bit_depth=8)


@pytest.mark.parametrize(("dtype", "bit_depth"), [("<u1", 8), ("<u2", 10), ("<u2", 16)])
def test_where_zero_is_white_the_largest_value_is_black(tmp_path: Path, dtype: str, bit_depth: int) -> None:
    path = tmp_path / "image.tif"
    path.write_bytes(tiff(np.rint(RAMP * (2**bit_depth - 1)).astype(dtype), signed=False, zero_is_white=True))
    assert np.abs(decode(path, 16, bit_depth=bit_depth)[0] - 255 * (1 - RAMP)).max() <= 0.6


@pytest.mark.parametrize("value", [-1, 65536])
def test_values_that_no_depth_holds_are_refused(tmp_path: Path, value: int) -> None:
    Image.fromarray(np.full((8, 8), value, np.int32)).save(tmp_path / "image.tif")
    with pytest.raises(BadImage, match=r"within 0\.\.65535"):
        decode(tmp_path / "image.tif", 8, bit_depth=12)


def test_a_pgm_is_scaled_by_the_range_that_it_names(tmp_path: Path) -> None:
    (tmp_path / "image.pgm").write_bytes(b"P5 4 4 1023\n" + struct.pack(">H", 1023) * 16)
    for bit_depth in DEPTHS:
        assert (decode(tmp_path / "image.pgm", 4, bit_depth) == 255).all()


@pytest.mark.parametrize("place", [3, 539])
def test_one_image_that_needs_more_decides_wherever_it_lies(tmp_path: Path, place: int) -> None:
    """Whether or not it is among those from which the depth is guessed."""
    files(tmp_path / "root", 540, 200)
    Image.fromarray((RAMP * 3000).astype(np.uint16)).save(tmp_path / "root" / f"{place:04}.png")
    assert opened(tmp_path / "root", tmp_path / "cache").bit_depth == 12


def test_images_of_8_bits_are_read_alike_with_every_depth(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    for number in range(6):
        Image.fromarray((RAMP * (250 - number)).astype(np.uint8)).save(tmp_path / "root" / f"{number}.png")
    auto = opened(tmp_path / "root", tmp_path / "cache")
    assert auto.bit_depth is None
    assert not any("bit_depth" in note for note in auto.notes)
    for bit_depth in DEPTHS:
        assert opened(tmp_path / "root", tmp_path / "cache", bit_depth=bit_depth).train.fingerprint == (
            auto.train.fingerprint
        )
    assert len(list((tmp_path / "cache").glob("*.u8"))) == 2  # decoded once


def test_a_value_beyond_a_given_depth_makes_a_bad_image(tmp_path: Path) -> None:
    files(tmp_path / "root", 200, 1023)
    Image.fromarray(np.full((8, 8), 1024, np.uint16)).save(tmp_path / "root" / "0100.png")
    sets = opened(tmp_path / "root", tmp_path / "cache", bit_depth=10)
    assert sets.bad == (("0100.png", "values up to 1024, more than bit_depth=10 holds (0..1023)"),)
    assert opened(tmp_path / "root", tmp_path / "cache").bad == ()


def test_what_was_found_is_used_again_and_changes_with_the_files(tmp_path: Path) -> None:
    files(tmp_path / "root", 6, 4095)
    first = opened(tmp_path / "root", tmp_path / "cache")
    made = sorted((tmp_path / "cache").iterdir())
    again = opened(tmp_path / "root", tmp_path / "cache", bit_depth=12)
    assert again.train.fingerprint == first.train.fingerprint
    assert sorted((tmp_path / "cache").iterdir()) == made, "the same depth, given, decodes nothing again"
    files(tmp_path / "root", 6, 1023)
    assert opened(tmp_path / "root", tmp_path / "cache").bit_depth == 10


def test_a_file_that_grew_deeper_while_streaming_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files(tmp_path / "root", 4, 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 0))
    sets = opened(tmp_path / "root", tmp_path / "cache")
    files(tmp_path / "root", 4, 4000)
    with pytest.raises(UserError, match=r"000\d\.png has values up to 4000, .*bit_depth"):
        sets.train.read(np.array([0]))


@pytest.mark.parametrize(("largest", "odd"), [(4095, True), (1000, True), (65535, False)])
def test_deep_colour_of_which_little_is_left_is_noticed(tmp_path: Path, largest: int, odd: bool) -> None:
    """Pillow reads the upper 8 bits of 16-bit colour, and no more."""
    rows = np.repeat((RAMP * largest).astype(">u2")[..., None], 3, axis=2)
    path = tmp_path / "image.png"
    path.write_bytes(deep_png(rows))
    watch()
    with noticed() as warned:
        decode(path, 16)
    assert any("16-bit colour" in text for text in warned) == odd


def deep_png(rows: np.ndarray) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", rows.shape[1], rows.shape[0], 16, 2, 0, 0, 0)
    lines = b"".join(b"\0" + row.tobytes() for row in rows)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
