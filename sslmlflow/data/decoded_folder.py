"""The parts of a folder of images, decoded with one bit depth, through the cache."""

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from sslmlflow.data.cache import Cached, Source, cached
from sslmlflow.data.decoding import (
    DeeperError,
    How,
    bad_list,
    decode_files,
    first_bad,
    odd_notes,
    sampled_depth,
    stopped,
)
from sslmlflow.data.layout import Layout
from sslmlflow.data.scan import ImageFile, os_bytes
from sslmlflow.data.source import DatasetSpec
from sslmlflow.digests import digest
from sslmlflow.errors import UserError
from sslmlflow.files import write_atomically
from sslmlflow.rules import DECODING
from sslmlflow.texts import printable

OWN_SIZE = 32


class DecodedFolder(NamedTuple):
    """The decoded parts of a layout, in its order, and what is known of their files."""

    sides: list[Cached]
    bit_depth: int | None  # with which images above 8 bits were read; None: there are none
    bad: tuple[tuple[str, str], ...]  # path and reason of each file that cannot be decoded
    notes: tuple[str, ...]


def decoded_folder(spec: DatasetSpec, layout: Layout, cache: Path) -> DecodedFolder:
    """Decode the files of every part.

    Raises UserError where too many files are undecodable, or where the first one is to stop the job.
    """
    sides, bit_depth = _of_one_depth(spec, layout, cache)
    bad = _texts(layout, [side.skipped for side in sides])
    if bad and spec.on_bad_image == "stop":  # the cache was made by an opening that skipped
        path, reason = bad[0]
        raise stopped(f"{printable(spec.folder)}/{path}", reason)
    count = sum(map(len, layout.sides))
    if len(bad) > spec.max_bad_share * count:
        kept = cache / f"bad-{_key(spec, _all_files(layout), {})[:16]}.txt"
        write_atomically(kept, bad_list(bad).encode())
        raise UserError(
            f"{len(bad):,} of {count:,} images cannot be decoded, more than max_bad_share={spec.max_bad_share:g} "
            f"allows. Remove or repair them ({kept} lists all), name another folder, or allow more. The first are:"
            + "".join(f"\n  {line}" for line in first_bad(bad))
        )
    if not all(len(side.images) for side in sides):
        raise UserError("No image is left to train on, or none to hold out: " + "; ".join(first_bad(bad)))
    notes = [f"skipped {len(bad):,} files that cannot be decoded: {'; '.join(first_bad(bad))}"] if bad else []
    notes += odd_notes(dict(_texts(layout, [side.odd for side in sides])))
    if bit_depth:
        found = ", the fewest bits that hold every value" if spec.bit_depth is None else ""
        notes.append(f"bit_depth={bit_depth}{found}: gray of more than 8 bits is scaled from 0..{2**bit_depth - 1}")
    notes += dict.fromkeys(note for side in sides for note in side.notes)
    return DecodedFolder(sides, bit_depth or None, bad, tuple(notes))


def _of_one_depth(spec: DatasetSpec, layout: Layout, cache: Path) -> tuple[list[Cached], int]:
    """Decode all parts with the bit depth that is given, or with the smallest that holds every value; 0: none needed.

    What was found is kept in the cache, so that no time is lost again by a guess that is too small, and so that the
    same images are not decoded twice if the same depth is given later.
    """
    assert spec.folder is not None
    files = _all_files(layout)
    found = cache / f"{_key(spec, files, {})}.depth"
    kept = found.read_text() if found.exists() else ""
    known = int(kept) if kept.isdecimal() else None
    if spec.bit_depth is not None:
        found_the_same = known in (0, spec.bit_depth)
        depth = known if known is not None and found_the_same else spec.bit_depth
        return _sides_decoded(spec, layout, cache, depth, auto=found_the_same), spec.bit_depth
    depth = sampled_depth(_paths(spec.folder, files), spec.max_megapixels) if known is None else known
    while True:
        try:
            sides = _sides_decoded(spec, layout, cache, depth, auto=True)
            break
        except DeeperError as error:
            depth = error.needed
    if known is None:
        write_atomically(found, str(depth).encode())
    return sides, depth


def _sides_decoded(spec: DatasetSpec, layout: Layout, cache: Path, bit_depth: int, auto: bool) -> list[Cached]:
    return [cached(_source(spec, files, bit_depth, auto), cache) for files in layout.sides]


def _source(spec: DatasetSpec, files: list[ImageFile], bit_depth: int, auto: bool) -> Source:
    assert spec.folder is not None
    size = OWN_SIZE if spec.image_size is None else spec.image_size
    how = How(size, bit_depth, auto, spec.max_megapixels, spec.on_bad_image)
    read = partial(decode_files, _paths(spec.folder, files), how)
    key = _key(spec, files, {"size": size, "bit_depth": bit_depth, "auto": auto})
    return Source(key, len(files), (3, size, size), read)


def _all_files(layout: Layout) -> list[ImageFile]:
    return [file for files in layout.sides for file in files]


def _paths(folder: Path, files: Sequence[ImageFile]) -> list[Path]:
    return [folder.joinpath(*file.parts) for file in files]


def _key(spec: DatasetSpec, files: Sequence[ImageFile], how: Mapping[str, int]) -> str:
    """Another key for other files, and for each other way to decode them."""
    assert spec.folder is not None
    rules = {"decoding": DECODING, "max_megapixels": spec.max_megapixels, "folder": str(spec.folder.resolve()), **how}
    key = hashlib.sha256(digest(rules).encode())
    for file in files:
        key.update(b"\0/".join((*os_bytes(file.parts), b"%d" % file.size, b"%d" % file.mtime_ns, b"")))
    return key.hexdigest()


def _texts(layout: Layout, sides: Sequence[dict[int, str]]) -> tuple[tuple[str, str], ...]:
    """Path and text of each file that has one, part by part."""
    return tuple(
        (printable("/".join(files[index].parts)), text)
        for files, texts in zip(layout.sides, sides, strict=True)
        for index, text in sorted(texts.items())
    )
