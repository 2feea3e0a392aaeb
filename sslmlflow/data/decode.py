"""Any image file to 8-bit RGB of one size, or a reason why not.

The rule for every kind of pixel:

* gray, 1-bit, palette, RGB, CMYK, YCbCr, HSV and CIELAB (8 bits): Pillow's conversion to RGB; embedded
  colour profiles are not applied;
* gray of more than 8 bits (0..65535): value x 255 / (2^bit depth - 1), rounded. Integers outside of that range are
  refused. Before that, Pillow scales a PGM that names a smaller range, and any JPEG 2000, to 16 bits. Of a TIFF whose
  zero is white the result is inverted;
* colour of 16 bits: the upper 8 bits, which is all that Pillow reads;
* floating-point gray: must lie within [0, 1]; value x 255, rounded. Anything else is refused;
* transparency of any kind: laid on white;
* the orientation of EXIF or XMP is applied; of several frames or pages the first is taken.

No other metadata is read, so that damage to it loses no image.
"""

import io
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile

from sslmlflow.data.bad_image import BadImage
from sslmlflow.data.bit_depth import FULL, LARGEST, scaled
from sslmlflow.data.metadata import without_metadata

MEGAPIXELS = 64.0
BYTES_PER_PIXEL = 16  # no honest file has more

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

_PHOTOMETRIC = 262  # TIFF 6.0, section 3
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(path: Path, size: int, bit_depth: int = FULL, megapixels: float = MEGAPIXELS) -> NDArray[np.uint8]:
    """Return the image in the file `path` as RGB (3, size, size), 0..255.

    The shorter side is resized to `size` with antialiasing (bicubic), the centre square is taken.

    Args:
        path: The file.
        size: Side of the result in pixels.
        bit_depth: Bits that gray of more than 8 bits uses; see `bit_depth.scaled`.
        megapixels: Largest image to decode; a larger one is refused by its header.

    Raises:
        BadImage: With the reason; TooDeep where the values do not fit into `bit_depth`.
        OSError: The file itself cannot be read.
    """
    with _reading(path, megapixels) as image:
        # A JPEG can be decoded at a fraction of its size: much faster, and still twice what is needed.
        image.draft(None, (2 * size, 2 * size))
        bit_depth = bit_depth if _is_deep(image) else FULL
        deep_colour = image.mode in ("RGB", "RGBA") and ";16" in str(image.tile[:1])
        image.load()
        if deep_colour:
            _warn_of_few_levels(image)
        shown = square(upright(to_rgb(image, bit_depth), image), size)
        return np.ascontiguousarray(np.asarray(shown).transpose(2, 0, 1))


def largest_value(path: Path, megapixels: float = MEGAPIXELS) -> int:
    """Return the largest value of an image whose bit depth is in question, and 0 for any other; raises as `decode`."""
    with _reading(path, megapixels) as image:
        return int(np.asarray(image).max()) if _is_deep(image) else 0


@contextmanager
def _reading(path: Path, megapixels: float) -> Iterator[ImageFile.ImageFile]:
    """The image of a file, its pixels not decoded yet; whatever fails is a BadImage."""
    largest = BYTES_PER_PIXEL * megapixels * 1e6
    if path.stat().st_size > largest:
        raise BadImage(f"the file is larger than {largest / 1e9:.1f} GB")
    if Image.MAX_IMAGE_PIXELS and megapixels * 1e6 > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = int(megapixels * 1e6)  # some of Pillow's decoders check it, too
    data = path.read_bytes()
    try:
        with _opened(without_metadata(data)) as image:
            if image.width * image.height > megapixels * 1e6:
                raise BadImage(f"{image.width} x {image.height} is more than max_megapixels={megapixels:g}")
            yield image
    except (BadImage, MemoryError):
        raise
    except Exception as error:  # decoders raise anything at a damaged file
        raise BadImage(f"{type(error).__name__}: {error}") from error


def _opened(data: bytes) -> ImageFile.ImageFile:
    """Open an image as `Image.open` does, but with the decoder's reason where it fails.

    The limit of pixels is checked later.
    """
    reason = "not an image, or of an unknown format" if data else "empty file"
    for name in FORMATS:
        factory, accepts = Image.OPEN[name]
        if accepts is None or accepts(data[:16]) is True:
            try:
                opened: ImageFile.ImageFile = factory(io.BytesIO(data), "")
                return opened
            except (SyntaxError, IndexError, TypeError, struct.error) as error:
                reason = f"damaged {name} file: {error}"
    raise BadImage(reason)


def _warn_of_few_levels(image: Image.Image) -> None:
    """Warn of 16-bit colour that uses 12 bits or fewer: of that Pillow reads no more than 16 levels."""
    levels = int(np.asarray(image)[..., :3].max()) + 1
    if 256 * levels <= 2**12:
        warnings.warn(
            f"16-bit colour of which only the upper 8 bits are read: {levels} levels are left; save it with 8 bits",
            stacklevel=1,
        )


def upright(pixels: Image.Image, image: Image.Image) -> Image.Image:
    """Return `pixels` turned as the metadata of `image` asks for; metadata that cannot be read asks for nothing."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception as error:  # anything, as of other damaged data
        warnings.warn(f"the orientation cannot be read: {type(error).__name__}: {error}", stacklevel=1)
        return pixels
    method = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return pixels if method is None else pixels.transpose(method)


def to_rgb(image: Image.Image, bit_depth: int = FULL) -> Image.Image:
    """Return `image`, of any mode of Pillow, as 8-bit RGB; raise BadImage where its values have no rule.

    >>> to_rgb(Image.new("F", (1, 1), 0.2)).getpixel((0, 0))
    (51, 51, 51)
    """
    if image.mode == "F" or image.mode.startswith("I"):
        return Image.fromarray(_gray(image, bit_depth if _is_deep(image) else FULL)).convert("RGB")
    if image.mode == "La":  # Pillow converts premultiplied gray to nothing else
        image = image.convert("LA")
    if image.has_transparency_data:
        ground = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(ground, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def _is_deep(image: Image.Image) -> bool:
    """Whether the image is gray of more than 8 bits, and does not say itself how many it uses.

    A PGM names its largest value, by which Pillow scales it to 0..65535; that is no longer seen once it is loaded.
    """
    scaled_already = any(
        tile.codec_name in ("ppm", "ppm_plain") and tile.args[-1] < LARGEST for tile in getattr(image, "tile", ())
    )
    return image.mode.startswith("I") and not scaled_already


def _gray(image: Image.Image, bit_depth: int) -> NDArray[np.uint8]:
    """Gray of more than 8 bits (h, w) to 8 bits."""
    values = np.asarray(image)
    if image.mode == "F":
        low, high = values.min(), values.max()
        if not (low >= 0 and high <= 1):  # written so that NaN is refused as well
            raise BadImage(f"floating-point pixels from {low} to {high}: they must lie within [0, 1]")
        rounded: NDArray[np.uint8] = np.rint(values * 255).astype(np.uint8)
        return rounded
    gray = scaled(values, bit_depth)
    if getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == 0:  # TIFF's WhiteIsZero, which Pillow heeds up to 8 bits
        gray = 255 - gray
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
