"""Many image files at once: their pixels, the bad ones with reasons, and what decoders warned of."""

import os
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sslmlflow.data.bad_image import BadImage
from sslmlflow.data.bit_depth import LARGEST, TooDeep, needed
from sslmlflow.data.cache import Decoded
from sslmlflow.data.decode import decode, largest_value
from sslmlflow.data.oddities import noticed, watch
from sslmlflow.errors import UserError
from sslmlflow.texts import printable

BAD_LIST = "bad_images.txt"
NAMED = 10  # bad files in a message; the list names all
SAMPLE = 8  # files from which the bit depth is guessed before all are read
_THREADS = min(8, os.cpu_count() or 1)


class DeeperError(UserError):
    """An image that needs a larger bit depth than the images before it."""

    def __init__(self, path: Path, error: TooDeep) -> None:
        super().__init__(
            f"{printable(path)} has {error}, which was found in all images before. Start again, or give --bit_depth."
        )
        self.needed = error.needed


@dataclass(frozen=True)
class How:
    """How files are decoded. `auto`: a larger value than the bit depth holds makes no bad image but a DeeperError."""

    size: int
    bit_depth: int
    auto: bool
    megapixels: float
    on_bad_image: str


def decode_files(paths: Sequence[Path], how: How, indices: NDArray[np.int64]) -> Decoded:
    """Decode the files `indices` of `paths`.

    Raises UserError where the disk cannot read a file, and at the first bad image where that is to stop; DeeperError.
    """

    def attempt(index: int) -> tuple[NDArray[np.uint8] | BadImage, str]:
        with noticed() as warned:
            try:
                pixels = decode(paths[index], how.size, how.bit_depth, how.megapixels)
            except BadImage as error:
                return error, ""
            except OSError as error:
                # The disk's fault, not the picture's: it may be readable again tomorrow, so it is not skipped.
                raise UserError(f"Cannot read {printable(paths[index])}: {error.strerror}.") from error
        return pixels, printable("; ".join(dict.fromkeys(warned)))

    watch()
    with ThreadPoolExecutor(_THREADS) as pool:
        results = dict(zip(indices.tolist(), pool.map(attempt, indices.tolist()), strict=True))
    deep = {index: found for index, (found, _) in results.items() if isinstance(found, TooDeep)}
    if how.auto and deep:
        deepest = max(deep, key=lambda index: deep[index].needed)
        raise DeeperError(paths[deepest], deep[deepest])
    bad = {index: printable(found) for index, (found, _) in results.items() if isinstance(found, BadImage)}
    if bad and how.on_bad_image == "stop":
        first, reason = next(iter(bad.items()))
        raise stopped(printable(paths[first]), reason)
    good = [found for found, _ in results.values() if not isinstance(found, BadImage)]
    odd = {index: warned for index, (_, warned) in results.items() if warned}
    return Decoded(np.array(good, np.uint8).reshape(-1, 3, how.size, how.size), bad, odd)


def stopped(path: str, reason: str) -> UserError:
    """The error of a bad image where on_bad_image=stop."""
    return UserError(
        f"{path} cannot be decoded: {reason}. Remove or repair the file, or leave it out with --on_bad_image=skip."
    )


def sampled_depth(paths: Sequence[Path], megapixels: float) -> int:
    """Return the bit depth that a few of the files need, spread over all; 0 if none of them is deep.

    It only saves time: where another file needs more, decoding raises DeeperError.
    """

    def depth(index: int) -> int:
        with noticed(), suppress(BadImage, OSError):  # named when all are decoded
            largest = largest_value(paths[index], megapixels)
            return needed(largest) if 0 < largest <= LARGEST else 0
        return 0

    watch()
    some = np.linspace(0, len(paths) - 1, min(len(paths), SAMPLE)).astype(np.int64)
    with ThreadPoolExecutor(_THREADS) as pool:
        return max(pool.map(depth, some.tolist()))


def bad_list(bad: Sequence[tuple[str, str]]) -> str:
    """One line for each bad file: its path, a tab and the reason."""
    return "".join(f"{path}\t{reason}\n" for path, reason in bad)


def first_bad(bad: Sequence[tuple[str, str]]) -> list[str]:
    """'path (reason)' for the first bad files, and how many more there are."""
    lines = [f"{path} ({reason})" for path, reason in bad[:NAMED]]
    return lines if len(bad) <= NAMED else [*lines, f"... and {len(bad) - NAMED:,} more"]


def odd_notes(odd: Mapping[str, str]) -> tuple[str, ...]:
    """A sentence for each kind of warning, with the number of files and the path of the first; `odd` is by path."""
    kinds: dict[str, list[str]] = {}
    for path, text in odd.items():
        kinds.setdefault(re.sub(r"\d+", "N", text), []).append(path)
    return tuple(
        f"{len(paths):,} image{'s' * (len(paths) > 1)} read with a warning: {odd[paths[0]].rstrip('.')} "
        f"({paths[0]}{', for example' * (len(paths) > 1)})"
        for paths in kinds.values()
    )
