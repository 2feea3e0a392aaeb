"""Every kind of pixel becomes the 8-bit RGB that a person would expect, or a named reason."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from sslmlflow.data.bad_image import BadImage
from sslmlflow.data.decode import decode, resized, to_rgb

SIZE = 8


def saved(tmp_path: Path, image: Image.Image, ext: str, **options: object) -> Path:
    path = tmp_path / f"image.{ext}"
    image.save(path, **options)
    return path


def colour(path: Path) -> tuple[int, ...]:
    """The one colour of a plain image."""
    pixels = decode(path, SIZE)
    assert pixels.shape == (3, SIZE, SIZE)
    assert pixels.dtype == np.uint8
    assert (pixels == pixels[:, :1, :1]).all()
    return tuple(pixels[:, 0, 0].tolist())


@pytest.mark.parametrize(
    ("mode", "value", "ext", "rgb"),
    [
        ("1", 1, "png", (255, 255, 255)),
        ("1", 0, "bmp", (0, 0, 0)),
        ("L", 77, "png", (77, 77, 77)),
        ("L", 77, "gif", (77, 77, 77)),
        ("L", 77, "pgm", (77, 77, 77)),
        ("RGB", (10, 20, 30), "png", (10, 20, 30)),
        ("RGB", (10, 20, 30), "ppm", (10, 20, 30)),
        ("RGB", (10, 20, 30), "tiff", (10, 20, 30)),
        # Transparency lies on white: alpha 51 of 255 is a fifth of the colour and four fifths of 255.
        ("LA", (100, 51), "png", (224, 224, 224)),
        ("RGBA", (100, 0, 200, 51), "png", (224, 204, 244)),
        ("RGBA", (100, 0, 200, 0), "tiff", (255, 255, 255)),
        ("RGBA", (100, 0, 200, 255), "png", (100, 0, 200)),
        # (255 - c) (255 - k) / 255
        ("CMYK", (255, 0, 0, 0), "tiff", (0, 255, 255)),
        ("CMYK", (0, 0, 0, 255), "tiff", (0, 0, 0)),
        ("I;16", 65535, "png", (255, 255, 255)),
        ("I;16", 257 * 77, "png", (77, 77, 77)),
        ("I;16", 257 * 77 + 129, "tiff", (78, 78, 78)),
        ("I", 257 * 77 + 128, "tiff", (77, 77, 77)),
        ("F", 0.2, "tiff", (51, 51, 51)),
        ("F", 1.0, "tiff", (255, 255, 255)),
    ],
)
def test_files_of_each_mode(tmp_path: Path, mode: str, value: int, ext: str, rgb: tuple[int, int, int]) -> None:
    assert colour(saved(tmp_path, Image.new(mode, (20, 10), value), ext)) == rgb


MODES = "1 L P RGB RGBA CMYK YCbCr LAB HSV I F LA PA RGBX RGBa La I;16 I;16L I;16B I;16N"


@pytest.mark.parametrize("mode", MODES.split())
def test_every_mode_of_pillow_has_a_rule(mode: str) -> None:
    image = to_rgb(Image.new(mode, (3, 2)))
    assert image.mode == "RGB"
    assert image.size == (3, 2)


def test_colour_spaces_give_the_colour_they_name() -> None:
    orange = Image.new("RGB", (1, 1), (200, 120, 40))
    for mode in ("YCbCr", "HSV"):
        assert np.allclose(to_rgb(orange.convert(mode)).getpixel((0, 0)), (200, 120, 40), atol=4)
    # Red of sRGB under D50: L* = 54.29, a* = 80.81, b* = 69.89; stored as 2.55 L*, a* + 128, b* + 128.
    lab = Image.merge("LAB", [Image.new("L", (1, 1), value) for value in (138, 209, 198)])
    assert np.allclose(to_rgb(lab).getpixel((0, 0)), (255, 0, 0), atol=6)


def test_big_endian_sixteen_bits() -> None:
    little = Image.fromarray(np.full((2, 2), 257 * 30, np.uint16))
    big = Image.frombytes("I;16B", (2, 2), np.full((2, 2), 257 * 30, ">u2").tobytes())
    assert to_rgb(little).getpixel((0, 0)) == to_rgb(big).getpixel((1, 1)) == (30, 30, 30)


def test_palettes(tmp_path: Path) -> None:
    image = Image.new("P", (10, 10), 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    assert colour(saved(tmp_path, image, "png")) == (200, 100, 50)
    assert colour(saved(tmp_path, image, "gif")) == (200, 100, 50)
    assert colour(saved(tmp_path, image, "png", transparency=1)) == (255, 255, 255)
    half = bytes([255, 51])  # alpha of each entry
    assert colour(saved(tmp_path, image, "png", transparency=half)) == (244, 224, 214)


@pytest.mark.parametrize(
    ("mode", "value", "transparent"), [("L", 9, 9), ("RGB", (1, 2, 3), (1, 2, 3)), ("I;16", 5000, 5000)]
)
def test_one_value_may_stand_for_transparent(tmp_path: Path, mode: str, value: int, transparent: int) -> None:
    image = Image.new(mode, (10, 10), value)
    assert colour(saved(tmp_path, image, "png", transparency=transparent)) == (255, 255, 255)


@pytest.mark.parametrize("value", [1.5, -0.1, float("nan"), 255.0])
def test_floats_outside_of_the_unit_interval_are_refused(tmp_path: Path, value: float) -> None:
    with pytest.raises(BadImage, match=r"within \[0, 1\]"):
        decode(saved(tmp_path, Image.new("F", (9, 9), value), "tiff"), SIZE)


@pytest.mark.parametrize("value", [-1, 65536])
def test_integers_beyond_sixteen_bits_are_refused(tmp_path: Path, value: int) -> None:
    with pytest.raises(BadImage, match=r"within 0\.\.65535"):
        decode(saved(tmp_path, Image.new("I", (9, 9), value), "tiff"), SIZE)


@pytest.mark.parametrize("ext", ["jpg", "png", "tiff", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int, ext: str) -> None:
    # What each orientation does with the stored array to show it upright (EXIF 2.3, tag 0x0112).
    upright_of = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a),
    }
    stored = np.zeros((32, 32, 3), np.uint8)
    stored[:16, :16], stored[:16, 16:], stored[16:, :16] = (250, 0, 0), (0, 250, 0), (0, 0, 250)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if ext == "webp" else {"quality": 95} if ext == "jpg" else {}
    path = saved(tmp_path, Image.fromarray(stored), ext, exif=exif, **options)
    shown = decode(path, 32).transpose(1, 2, 0).astype(int)
    expected = upright_of[orientation](stored).astype(int)
    corners = np.s_[4::24, 4::24]
    assert np.abs(shown[corners] - expected[corners]).max() <= 30


@pytest.mark.parametrize(("width", "height"), [(40, 20), (20, 40)])
def test_the_centre_square_is_taken(tmp_path: Path, width: int, height: int) -> None:
    pixels = np.zeros((height, width), np.uint8)
    pixels[height // 2 - 10 : height // 2 + 10, width // 2 - 10 : width // 2 + 10] = 200
    small = decode(saved(tmp_path, Image.fromarray(pixels), "png"), SIZE)
    assert (small[:, 2:-2, 2:-2] == 200).all()  # at the border the filter reaches over the edge
    assert small.min() > 150


def test_shrinking_averages(tmp_path: Path) -> None:
    """A fine checkerboard becomes its mean, where sampling without antialiasing gives 0 or 255."""
    board = (np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8)
    small = decode(saved(tmp_path, Image.fromarray(board), "png"), SIZE)
    assert np.abs(small.astype(int) - 127.5).max() < 3


@pytest.mark.parametrize("scale", [1, 3, 8, 20])
def test_a_large_jpeg_is_decoded_like_the_same_png(tmp_path: Path, scale: int) -> None:
    rows, columns = np.mgrid[: 40 * scale, : 40 * scale] / (40 * scale)
    pixels = (np.stack([rows, columns, rows * columns], axis=-1) * 255).astype(np.uint8)
    image = Image.fromarray(pixels)
    jpeg = decode(saved(tmp_path, image, "jpg", quality=95), 40)
    png = decode(saved(tmp_path, image, "png"), 40)
    assert np.abs(jpeg.astype(int) - png).mean() < 2


def test_the_first_frame_of_several(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (9, 9), name) for name in ("red", "blue")]
    for ext in ("gif", "tiff"):
        path = saved(tmp_path, frames[0], ext, save_all=True, append_images=frames[1:])
        assert colour(path) == (255, 0, 0)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("ext", ["jpg", "png", "tiff", "webp", "bmp", "gif"])
def test_a_truncated_file_is_bad_at_every_length(tmp_path: Path, ext: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    whole = saved(tmp_path, Image.fromarray(noise), ext).read_bytes()
    cut = tmp_path / f"cut.{ext}"
    for share in (0.0, 0.01, 0.1, 0.5, 0.9):
        cut.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(BadImage, match=r"\w"):
            decode(cut, SIZE)
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


@pytest.mark.filterwarnings("ignore")  # Pillow warns of what is odd, then goes on or raises
@pytest.mark.parametrize("ext", ["jpg", "png", "tiff", "webp", "bmp", "gif", "ppm", "jp2"])
def test_damaged_bytes_give_an_image_or_a_reason(tmp_path: Path, ext: str) -> None:
    random = np.random.default_rng(1)
    noise = random.integers(0, 256, (24, 24, 3), dtype=np.uint8)
    whole = np.frombuffer(saved(tmp_path, Image.fromarray(noise), ext).read_bytes(), np.uint8)
    path = tmp_path / f"damaged.{ext}"
    for _ in range(100):
        damaged = whole.copy()
        where = random.integers(0, min(len(whole), 400), 5)
        damaged[where] = random.integers(0, 256, 5)
        path.write_bytes(damaged.tobytes())
        try:
            pixels = decode(path, SIZE)
        except BadImage:
            continue
        assert pixels.shape == (3, SIZE, SIZE)


def test_a_huge_image_is_refused_by_its_header(tmp_path: Path) -> None:
    """The rows were never written: only the header can have decided."""
    for width, height, limit in ((9000, 8000, 64), (30_000, 30_000, 64), (30_000, 30_000, 899), (40, 30, 0.001)):
        assert width * height > limit * 1e6
        buffer = io.BytesIO()
        Image.new("L", (1, 1)).save(buffer, "BMP")
        header = bytearray(buffer.getvalue())
        header[18:26] = width.to_bytes(4, "little") + height.to_bytes(4, "little")
        path = tmp_path / "huge.bmp"
        path.write_bytes(bytes(header))
        with pytest.raises(BadImage, match=f"{width} x {height} is more than max_megapixels={limit}"):
            decode(path, SIZE, megapixels=limit)


def test_larger_images_are_read_where_they_are_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow's own limit of pixels does not count."""
    for ext in ("png", "jpg", "tiff", "webp", "bmp", "gif"):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
        path = saved(tmp_path, Image.new("L", (40, 30), 255), ext)
        with pytest.raises(BadImage, match=r"max_megapixels=0\.001"):
            decode(path, SIZE, megapixels=0.001)
        assert (decode(path, SIZE, megapixels=0.002) == 255).all()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"GIF89a", "damaged GIF file"),
        (b"\x89PNG\r\n\x1a\n", "damaged PNG file"),
        (b"II*\0\x08\0\0\0\0\0", "damaged TIFF file"),
        (b"no image at all", "not an image"),
    ],
)
def test_the_reason_names_the_format(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "image.png").write_bytes(content)
    with pytest.raises(BadImage, match=reason):
        decode(tmp_path / "image.png", SIZE)


def test_a_program_in_disguise_is_not_opened(tmp_path: Path) -> None:
    """PostScript, which Pillow would hand to another program, is not taken for an image."""
    path = tmp_path / "image.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    with pytest.raises(BadImage, match="not an image"):
        decode(path, SIZE)


def test_arrays_are_resized_as_files_are(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 24, 24), dtype=np.uint8)
    small = resized(pixels, SIZE)
    for image, expected in zip(pixels, small, strict=True):
        path = saved(tmp_path, Image.fromarray(image.transpose(1, 2, 0).copy()), "png")
        assert (decode(path, SIZE) == expected).all()
