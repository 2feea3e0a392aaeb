"""What a decoder warns of while it reads an image, caught where the file is known.

`warnings.catch_warnings` changes the state of the whole process, and images are read in several threads. So one hook
is set for good, which looks up what the thread is reading.
"""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

_MODULES = r"(PIL|sslmlflow\.data)\."


class _Reading(threading.local):
    texts: list[str] | None = None  # of the image that this thread reads


_reading = _Reading()
_elsewhere = warnings.showwarning  # what shows warnings that do not belong to an image
_shown: set[tuple[str, str, int]] = set()


def watch() -> None:
    """Set the hook, unless it is set: a test or another library may have put back its own."""
    global _elsewhere
    if warnings.showwarning is not _show:
        _elsewhere = warnings.showwarning
        warnings.filterwarnings("always", module=_MODULES)  # for every file, not once
        warnings.showwarning = _show


@contextmanager
def noticed() -> Iterator[list[str]]:
    """A list that collects the warnings of this thread."""
    before, _reading.texts = _reading.texts, []
    try:
        yield _reading.texts
    finally:
        _reading.texts = before


def _show(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    if _reading.texts is not None:
        _reading.texts.append(str(message))
        return
    if "PIL" in filename:  # elsewhere it stays once per place, as Python's default is
        if (place := (str(message), filename, lineno)) in _shown:
            return
        _shown.add(place)
    _elsewhere(message, category, filename, lineno, file, line)
