"""Rotten metadata loses no image whose pixels are whole; damage to pixels is refused with the reason."""

import io
import random
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sslmlflow.data.bad_image import BadImage
from sslmlflow.data.decode import decode
from sslmlflow.data.oddities import noticed, watch

SIZE = 16
PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8))
XMP = b"<x:xmpmeta><tiff:Orientation>1</tiff:Orientation></x:xmpmeta>"
LONG = zlib.compress(bytes(5_000_000))  # a few kilobytes that fill the memory
Spans = list[tuple[int, int]]


def encoded(ext: str, **options: Any) -> bytes:
    file = io.BytesIO()
    PICTURE.save(file, ext, **options)
    return file.getvalue()


def read(folder: Path, content: bytes) -> tuple[np.ndarray, list[str]]:
    """The pixels of a file and what was warned of."""
    path = folder / "image"
    path.write_bytes(content)
    watch()
    with noticed() as warned:
        return decode(path, SIZE), warned


def exif() -> Image.Exif:
    made = Image.Exif()
    made[0x0112], made[0x010F], made[0x011A], made[0x0132] = 1, "maker" * 5, 72.0, "2020:01:01 00:00:00"
    made.get_ifd(0x8769)[0x9000] = b"0230"
    made.get_ifd(0x8825)[1] = "N"
    return made


def chunk(name: bytes, content: bytes, wrong: int = 0) -> bytes:
    checksum = zlib.crc32(name + content) ^ wrong
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


CHUNKS = [b"iCCP", b"tEXt", b"zTXt", b"iTXt", b"pHYs", b"eXIf", b"gAMA", b"cHRM", b"tIME", b"acTL", b"fcTL", b"prVt"]
CONTENTS = [
    b"",
    b"key\0",
    b"profile\0\7garbage",
    b"profile\0\0" + LONG,
    b"Raw profile type exif\0\0" + LONG,
    b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n  8\nzz"),
    b"Raw profile type exif\0\1x",
    b"XML:com.adobe.xmp\0\1\0\0\0" + LONG,
    b"XML:com.adobe.xmp\0\0\0\0\0" + b"x" * 2_000_000,
]


@pytest.mark.parametrize("content", CONTENTS, ids=lambda content: f"{content[:22]!r}")
def test_any_ancillary_chunk_of_a_png(tmp_path: Path, content: bytes) -> None:
    png = encoded("PNG")
    expected, _ = read(tmp_path, png)
    for name in CHUNKS:
        for where in (33, len(png) - 12):  # behind the header, and before the end
            for wrong in (0, 1):
                pixels, warned = read(tmp_path, png[:where] + chunk(name, content, wrong) + png[where:])
                assert (pixels == expected).all()
                assert any(f"wrong checksum in the PNG chunk {name.decode()}" in text for text in warned) == wrong
        cut = chunk(name, content)[:-3]
        assert (read(tmp_path, png[:-12] + cut)[0] == expected).all()


@pytest.mark.parametrize("name", [b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"])
def test_a_wrong_checksum_where_pixels_depend_on_it_is_the_reason(tmp_path: Path, name: bytes) -> None:
    file = io.BytesIO()
    PICTURE.quantize(16).save(file, "PNG", transparency=3)
    damaged = bytearray(file.getvalue())
    at = damaged.index(name)
    length = int.from_bytes(damaged[at - 4 : at], "big")
    damaged[at + 4 + length] ^= 1
    with pytest.raises(BadImage, match=f"^wrong checksum in the PNG chunk {name.decode()}$"):
        read(tmp_path, bytes(damaged))


def test_the_first_picture_of_an_animation_needs_no_chunk_of_the_animation(tmp_path: Path) -> None:
    animated = encoded("PNG", save_all=True, append_images=[Image.new("RGB", PICTURE.size, "red")])
    assert b"acTL" in animated
    assert (read(tmp_path, animated)[0] == read(tmp_path, encoded("PNG"))[0]).all()
    at = animated.index(b"fcTL") + 8
    damaged = animated[:at] + b"\xff\xff\xff\xff" + animated[at + 4 :]
    assert (read(tmp_path, damaged)[0] == read(tmp_path, encoded("PNG"))[0]).all()


SEGMENTS = [
    *(b"", b"JFIF\0", b"Adobe", b"Exif\0\0", b"Exif\0\0II*\0", b"ICC_PROFILE\0", b"ICC_PROFILE\0\1", b"MPF\0"),
    *(b"MPF\0MM\0*\0\0\0\x08", b"Photoshop 3.0\0", b"Photoshop 3.0\x008BIM", b"Photoshop 3.0\x008BIM\x03\xed"),
    *(b"http://ns.adobe.com/xap/1.0/\0", b"FPXR\0", bytes(70)),
]


@pytest.mark.parametrize("content", SEGMENTS)
def test_any_segment_of_an_application_in_a_jpeg(tmp_path: Path, content: bytes) -> None:
    jpeg = encoded("JPEG", exif=exif(), icc_profile=b"x" * 500)
    expected, _ = read(tmp_path, jpeg)
    for kind in (*range(0xE0, 0xF0), 0xFE):
        segment = bytes((0xFF, kind)) + struct.pack(">H", 2 + len(content)) + content
        assert (read(tmp_path, jpeg[:2] + segment + jpeg[2:])[0] == expected).all()


def jpeg_spans(data: bytes) -> Spans:
    spans, position = [], 2
    while data[position + 1] != 0xDA:
        kind, length = struct.unpack_from(">BH", data, position + 1)
        if 0xE1 <= kind <= 0xEF or kind == 0xFE:
            spans.append((position + 4, position + 2 + length))
        position += 2 + length
    return spans


def webp_spans(data: bytes) -> Spans:
    spans, position = [], 12
    while position + 8 <= len(data):
        name, length = struct.unpack_from("<4sI", data, position)
        if name in (b"EXIF", b"XMP ", b"ICCP"):
            spans.append((position + 8, position + 8 + length))
        position += 8 + length + length % 2
    return spans


def tiff_spans(data: bytes) -> Spans:
    """Kind, length and place of every tag on which no pixel depends."""
    (start,) = struct.unpack_from("<L", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    places = range(start + 2, start + 2 + 12 * count, 12)
    needless = (270, 271, 282, 305, 306, 700, 34665, 34675, 34853)
    return [(at + 2, at + 12) for at in places if struct.unpack_from("<H", data, at)[0] in needless]


OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"xmp": XMP, "comment": b"hello" * 9, "icc_profile": b"x" * 500},
    "WEBP": {"xmp": XMP, "lossless": True, "icc_profile": b"x" * 500},
    "TIFF": {"icc_profile": b"x" * 500},
}


def rotten(data: bytes, spans: Spans, count: int) -> Iterator[bytes]:
    draw = random.Random(0)
    for _ in range(count):
        damaged = bytearray(data)
        for _ in range(draw.choice((1, 2, 8, 40))):
            damaged[draw.randrange(*draw.choice(spans))] = draw.choice((0, 255, draw.randrange(256)))
        yield bytes(damaged)


@pytest.mark.parametrize("ext", ["JPEG", "WEBP", "TIFF"])
def test_metadata_with_random_bytes(tmp_path: Path, ext: str) -> None:
    made = exif()
    if ext == "TIFF":  # its tags and those of EXIF are the same
        made[700], made[270], made[305] = XMP, "a description" * 9, "software"
    data = encoded(ext, exif=made, **OPTIONS[ext])
    expected, _ = read(tmp_path, data)
    turned = 0
    for damaged in rotten(data, {"JPEG": jpeg_spans, "WEBP": webp_spans, "TIFF": tiff_spans}[ext](data), 150):
        turned += not (read(tmp_path, damaged)[0] == expected).all()
    assert turned <= 3, "the orientation itself may be among what was changed"


@pytest.mark.parametrize("ext", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("kind", [12, 10, 255])
def test_a_value_that_cannot_be_written_back_keeps_the_orientation(tmp_path: Path, ext: str, kind: int) -> None:
    upright, sideways = Image.Exif(), Image.Exif()
    for made, orientation in ((upright, 1), (sideways, 6)):
        made[0x0112], made[0x0110] = orientation, "a camera"
    options = {"lossless": True} if ext == "WEBP" else {}
    odd = sideways.tobytes().replace(b"\1\x10\0\2", bytes((1, 0x10, 0, kind)))  # the type of the camera's name
    assert odd != sideways.tobytes()
    expected, _ = read(tmp_path, encoded(ext, exif=upright, **options))
    pixels, _ = read(tmp_path, encoded(ext, exif=odd, **options))
    assert (pixels == np.rot90(expected, -1, (1, 2))).all()
    assert not (pixels == expected).all()


def test_the_orientation_of_xmp_and_of_a_text_is_applied(tmp_path: Path) -> None:
    expected = np.rot90(read(tmp_path, encoded("PNG"))[0], -1, (1, 2))
    png, xmp = encoded("PNG"), XMP.replace(b">1<", b">6<")
    sideways = Image.Exif()
    sideways[0x0112] = 6
    raw = sideways.tobytes()
    hexadecimal = f"\nexif\n{len(raw):8}\n{raw.hex()}\n".encode()
    for content in (
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(xmp)),
        chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(hexadecimal)),
        chunk(b"tEXt", b"Raw profile type exif\0" + hexadecimal),
    ):
        assert (read(tmp_path, png[:33] + content + png[33:])[0] == expected).all()
