"""PNG, JPEG and TIFF files without the metadata that no pixel depends on, so that damage to it loses no image.

Decoders refuse whole images for a long colour profile, a wrong checksum of a comment or a short header of a thumbnail.
What remains is what the pixels depend on, and the places in which an orientation is kept: EXIF and XMP.
"""

import struct
import warnings
import zlib
from collections.abc import Iterator

from sslmlflow.data.bad_image import BadImage

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
MAX_TEXT = 1 << 20  # bytes of a PNG's text; more are no orientation, but may be meant to fill the memory
_TEXTS = (b"XML:com.adobe.xmp\0", b"Raw profile type exif\0")
_START_OF_SCAN, _COMMENT = 0xDA, 0xFE
# Tags of TIFF whose data may lie apart from them, and without which pixels would be others: bits, strips, colour map,
# tiles, extra samples, sample format, JPEG tables and those of YCbCr.
_TIFF_NEEDED = frozenset((258, 273, 279, 320, 324, 325, 338, 339, 340, 341, 347, *range(512, 522), *range(529, 533)))
_TIFF_XMP = 700
_TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}  # bytes, by type


def without_metadata(data: bytes) -> bytes:
    """Return the content of an image file without metadata; other formats as they are.

    Raises BadImage for a PNG with a wrong checksum where pixels depend on it.
    """
    if data.startswith(PNG):
        return PNG + b"".join(_chunks(data))
    if data.startswith(JPEG):
        return JPEG + b"".join(_segments(data))
    if data.startswith((b"II*\0", b"MM\0*")):
        return _tags_kept(data)
    return data


def _chunks(data: bytes) -> Iterator[memoryview]:
    """The chunks of a PNG (PNG 1.2, section 3) that are kept, whole."""
    view, position = memoryview(data), len(PNG)
    while position + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        start, end = position + 8, position + 12 + length
        if not name.isalpha():
            break
        decides = name[:1].isupper() or name == b"tRNS"
        if end > len(data):
            if not decides:
                return
            break
        right = zlib.crc32(view[position + 4 : end - 4]) == int.from_bytes(view[end - 4 : end], "big")
        if decides and not right:
            raise BadImage(f"wrong checksum in the PNG chunk {name.decode()}")
        if not right:
            warnings.warn(f"wrong checksum in the PNG chunk {name.decode()}, which is left out", stacklevel=1)
        elif decides or name == b"eXIf" or _is_orientation(name, data[start : min(end - 4, start + MAX_TEXT)]):
            yield view[position:end]
        position = end
    yield view[position:]  # what is cut off or no chunk: the decoder says what it lacks


def _is_orientation(name: bytes, text: bytes) -> bool:
    """Whether a chunk is a text that may hold an orientation, and is no longer than that."""
    if name not in (b"tEXt", b"zTXt", b"iTXt") or not text.startswith(_TEXTS):
        return False
    _, _, rest = text.partition(b"\0")
    if name == b"tEXt" or (name == b"iTXt" and rest[:1] == b"\0"):
        return len(text) < MAX_TEXT
    if name == b"iTXt":
        rest = rest[1:2] + rest[2:].split(b"\0", 2)[-1]
    if rest[:1] != b"\0":  # the only method of compression that there is
        return False
    packed = zlib.decompressobj()
    try:
        return len(packed.decompress(rest[1:], MAX_TEXT)) < MAX_TEXT
    except zlib.error:
        return False


def _segments(data: bytes) -> Iterator[memoryview]:
    """The segments of a JPEG (ITU-T T.81, annex B) that are kept, and everything from the first scan on."""
    view, position = memoryview(data), len(JPEG)
    while position + 4 <= len(data):
        marker, kind, length = struct.unpack_from(">BBH", data, position)
        if marker != 0xFF or length < 2 or kind in (0x00, 0xFF, _START_OF_SCAN) or 0xD0 <= kind <= 0xD9:
            break
        end = position + 2 + length
        if _is_needed(kind, data[position + 4 : end]):
            yield view[position:end]
        position = end
    yield view[position:]


def _is_needed(kind: int, content: bytes) -> bool:
    if kind == 0xE0:  # JFIF; as libjpeg, which takes no shorter one
        return len(content) >= 14
    if kind == 0xEE:  # Adobe's: how colours are stored
        return len(content) >= 12
    if kind == 0xE1:
        return content.startswith((b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"))
    return kind != _COMMENT and not 0xE2 <= kind <= 0xEF


def _tags_kept(data: bytes) -> bytes:
    """A TIFF whose first directory (TIFF 6.0, section 2) lacks tags that cannot be read: decoders stop at them."""
    order = "<" if data.startswith(b"II") else ">"
    if len(data) < 8:
        return data
    (start,) = struct.unpack_from(f"{order}L", data, 4)
    count = int.from_bytes(data[start : start + 2], "little" if order == "<" else "big")
    tags = [data[at : at + 12] for at in range(start + 2, start + 2 + 12 * count, 12)]
    if start + 2 + 12 * count + 4 > len(data):
        return data
    kept = [entry for entry in tags if _is_readable(struct.unpack(f"{order}HHLL", entry), len(data))]
    if len(kept) == len(tags):
        return data
    directory = struct.pack(f"{order}H", len(kept)) + b"".join(kept) + bytes(4)  # no further page is read
    return data[:start] + directory + data[start + len(directory) :]


def _is_readable(entry: tuple[int, ...], length: int) -> bool:
    tag, kind, count, offset = entry
    size = count * _TIFF_SIZES.get(kind, 0)
    outside = size > 4 and offset + size > length
    if tag in _TIFF_NEEDED or not (outside or (tag == _TIFF_XMP and kind not in (1, 7))):
        return True
    warnings.warn(f"the TIFF tag {tag} cannot be read and is left out", stacklevel=1)
    return False
