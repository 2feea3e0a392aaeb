"""Warnings of decoders reach the user with the file that they are about, whichever thread reads it."""

import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from sslmlflow.data.oddities import noticed, watch


def _warn(text: str) -> None:
    """As if Pillow warned."""
    warnings.warn_explicit(text, UserWarning, "PIL/TiffImagePlugin.py", 1, module="PIL.TiffImagePlugin")


def test_each_thread_has_its_own() -> None:
    watch()

    def work(number: int) -> list[str]:
        with noticed() as texts:
            for _ in range(20):
                _warn(f"image {number}")
        return texts

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(work, range(64)))
    assert found == [[f"image {number}"] * 20 for number in range(64)]


def test_other_warnings_are_shown_as_before(recwarn: pytest.WarningsRecorder) -> None:
    watch()
    watch()
    with noticed() as texts:
        _warn("inside")
    for _ in range(3):
        _warn("outside")
    warnings.warn("of another library", stacklevel=1)
    assert texts == ["inside"]
    assert [str(warning.message) for warning in recwarn] == ["outside", "of another library"]


def test_another_librarys_hook_is_not_lost() -> None:
    shown: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *rest, **named: shown.append(str(message))
        watch()
        with noticed() as texts:
            Image.new("P", (1, 1)).convert("RGB")
            _warn("of an image")
        warnings.warn("its own", stacklevel=1)
    assert texts == ["of an image"]
    assert shown == ["its own"]
    watch()
