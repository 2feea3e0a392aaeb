"""Any image file to 8-bit RGB of one size, or a reason why not.

The rule for every kind of pixel:

* gray, 1-bit, palette, RGB, CMYK, YCbCr, HSV and CIELAB (8 bits): Pillow's conversion to RGB; embedded
  colour profiles are not applied;
* gray of 16 bits (0..65535): value / 257, rounded. Integers outside of that range are refused;
* floating-point gray: must lie within [0, 1]; value x 255, rounded. Anything else is refused;
* transparency of any kind: laid on white;
* the EXIF orientation is applied; of several frames or pages the first is taken.
"""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 64_000_000
MAX_BYTES = 16 * MAX_PIXELS  # no honest file of that many pixels is larger

Image.init()
# Only formats recognised by their first bytes, and none that starts another program (as EPS does).
FORMATS = tuple(
    name for name in ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF", "PPM", "JPEG2000", "AVIF") if name in Image.OPEN
)
READABLE = frozenset(ext for ext, name in Image.registered_extensions().items() if name in (*FORMATS, "MPO"))
# Images by their name that are not opened: counted, so that nobody misses them.
# fmt: off
UNREADABLE = frozenset((
    ".arw", ".avif", ".cr2", ".cr3", ".dcm", ".dds", ".dib", ".dng", ".eps", ".exr", ".hdr", ".heic", ".heif",
    ".ico", ".jp2", ".jxl", ".nef", ".nii", ".pcx", ".psd", ".svg", ".tga", ".webp",
)) - READABLE
# fmt: on


class BadImage(Exception):  # noqa: N818
    """A file that gives no image; the message is the reason."""


def decode(path: Path, size: int) -> NDArray[np.uint8]:
    """Return the image in the file `path` as RGB (3, size, size), 0..255.

    The shorter side is resized to `size` with antialiasing (bicubic), the centre square is taken.
    Raises BadImage with the reason, and OSError when the file itself cannot be read.
    """
    if path.stat().st_size > MAX_BYTES:
        raise BadImage(f"the file is larger than {MAX_BYTES / 1e9:.1f} GB")
    data = path.read_bytes()
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_pixels(image)
            # A JPEG can be decoded at a fraction of its size: much faster, and still twice what is needed.
            image.draft(None, (2 * size, 2 * size))
            image.load()
            upright = ImageOps.exif_transpose(image)
            return np.ascontiguousarray(np.asarray(square(to_rgb(upright), size)).transpose(2, 0, 1))
    except (BadImage, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise BadImage(f"more than {MAX_PIXELS / 1e6:.0f} megapixels") from error
    except UnidentifiedImageError as error:
        raise BadImage("empty file" if not data else "not an image, or of an unknown format") from error
    except Exception as error:  # decoders raise anything at a damaged file
        raise BadImage(f"{type(error).__name__}: {error}") from error


def _check_pixels(image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise BadImage(f"{image.width} x {image.height} is more than {MAX_PIXELS / 1e6:.0f} megapixels")


def to_rgb(image: Image.Image) -> Image.Image:
    """Return `image`, of any mode of Pillow, as 8-bit RGB; raise BadImage where its values have no rule.

    >>> to_rgb(Image.new("F", (1, 1), 0.2)).getpixel((0, 0))
    (51, 51, 51)
    """
    if image.mode == "F" or image.mode.startswith("I"):
        return Image.fromarray(_gray(image)).convert("RGB")
    if image.mode == "La":  # Pillow converts premultiplied gray to nothing else
        image = image.convert("LA")
    if image.has_transparency_data:
        ground = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(ground, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def _gray(image: Image.Image) -> NDArray[np.uint8]:
    """Gray of more than 8 bits (h, w) to 8 bits."""
    values = np.asarray(image)
    low, high = values.min(), values.max()
    if image.mode == "F":
        if not (low >= 0 and high <= 1):  # written so that NaN is refused as well
            raise BadImage(f"floating-point pixels from {low} to {high}: they must lie within [0, 1]")
        scaled: NDArray[np.uint8] = np.rint(values * 255).astype(np.uint8)
        return scaled
    if low < 0 or high > 65535:
        raise BadImage(f"integer pixels from {low} to {high}: they must lie within 0..65535")
    gray: NDArray[np.uint8] = ((values.astype(np.int32) + 128) // 257).astype(np.uint8)
    if isinstance(image.info.get("transparency"), int):  # PNG: one gray value stands for "nothing here"
        gray[values == image.info["transparency"]] = 255
    return gray


def square(image: Image.Image, size: int) -> Image.Image:
    """Return the centre square of `image`, resized to `size` x `size` with antialiasing (bicubic)."""
    side = min(image.size)
    if image.size == (size, size):
        return image
    left, top = (image.width - side) / 2, (image.height - side) / 2
    return image.resize((size, size), Image.Resampling.BICUBIC, (left, top, left + side, top + side))


def resized(pixels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return square images (n, c, side, side) as (n, c, size, size), resized as files are."""
    n, channels, side, _ = pixels.shape
    if side == size:
        return pixels
    planes = pixels.reshape(n * channels, side, side)
    small = [np.asarray(square(Image.fromarray(plane), size)) for plane in planes]
    return np.array(small, np.uint8).reshape(n, channels, size, size)
