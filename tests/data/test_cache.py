"""Decoded images are written once, whole, by one process, and are the same however they are read."""

import json
import multiprocessing
import os
import shutil
import signal
import time
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

from sslmlflow.data import cache as module
from sslmlflow.data.cache import Decoded, Source, cached, locked
from sslmlflow.data.source import ArrayImages
from sslmlflow.errors import UserError

COUNT, SHAPE, BAD, ODD = 1200, (3, 4, 4), {5, 700}, {6, 900}
Usage = namedtuple("Usage", "total used free")


def picture(index: int) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 256, SHAPE, dtype=np.uint8)


GOOD = np.stack([picture(index) for index in range(COUNT) if index not in BAD])


def source(calls: Path, key: str = "key", pause: float = 0) -> Source:
    """A source that leaves a line in the file `calls` for every image it decodes."""

    def decode(indices: np.ndarray) -> Decoded:
        time.sleep(pause)
        with calls.open("a") as file:
            file.writelines(f"{index}\n" for index in indices)
        good = [picture(index) for index in indices.tolist() if index not in BAD]
        bad, odd = ({i: text for i in indices.tolist() if i in those} for those, text in ((BAD, "bad"), (ODD, "odd")))
        return Decoded(np.array(good, np.uint8).reshape(-1, *SHAPE), bad, odd)

    return Source(key, COUNT, SHAPE, decode)


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**12, 10**12 - 10**6, 10**6))


def check(found: module.Cached) -> None:
    """All good images, in order, and the bad ones named."""
    assert len(found.images) == COUNT - len(BAD)
    assert (found.images.read(np.arange(COUNT - len(BAD))) == GOOD).all()
    assert (found.images.read(np.array([900, 6, 6])) == GOOD[[900, 6, 6]]).all()
    assert found.kept.tolist() == [index for index in range(COUNT) if index not in BAD]
    assert found.skipped == dict.fromkeys(BAD, "bad")
    assert found.odd == dict.fromkeys(ODD, "odd")
    assert found.images.shape == SHAPE
    assert found.images.fingerprint == ArrayImages(GOOD).fingerprint


def test_decoded_once_and_identical_when_read_again(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    for _ in range(3):
        check(cached(source(calls), tmp_path / "cache"))
    assert sorted(map(int, calls.read_text().split())) == list(range(COUNT))


def test_what_earlier_releases_decoded_is_read(tmp_path: Path) -> None:
    cached(source(tmp_path / "calls"), tmp_path)
    entry = json.loads((tmp_path / "key.json").read_text())
    del entry["odd"]
    (tmp_path / "key.json").write_text(json.dumps(entry))
    again = cached(source(tmp_path / "calls"), tmp_path)
    assert (again.images.fingerprint, again.odd) == (ArrayImages(GOOD).fingerprint, {})


def test_another_key_is_other_pixels(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    cached(source(calls, "one"), tmp_path)
    cached(source(calls, "two"), tmp_path)
    assert len(calls.read_text().split()) == 2 * COUNT


@pytest.mark.usefixtures("full_disk")
def test_without_room_images_are_streamed(tmp_path: Path) -> None:
    found = cached(source(tmp_path / "calls"), tmp_path / "cache")
    check(found)
    assert any("lacks room" in note for note in found.notes)
    assert sum(path.stat().st_size for path in (tmp_path / "cache").iterdir()) < 1000


def test_once_there_is_room_images_are_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: Usage(10, 10, 0))
        streamed = cached(source(tmp_path / "calls"), tmp_path)
    stored = cached(source(tmp_path / "calls"), tmp_path)
    check(stored)
    assert streamed.notes
    assert not stored.notes
    assert stored.images.fingerprint == streamed.images.fingerprint


def test_an_image_that_vanishes_while_streaming_is_an_error(tmp_path: Path, full_disk: None) -> None:
    whole = source(tmp_path / "calls")
    found = cached(whole, tmp_path)
    BAD.add(9)
    try:
        with pytest.raises(UserError, match="not any more"):
            found.images.read(np.array([8]))
    finally:
        BAD.remove(9)


def _open_and_check(folder: Path, calls: Path) -> None:
    check(cached(source(calls, pause=0.05), folder))


def test_several_processes_at_once(tmp_path: Path) -> None:
    calls, folder = tmp_path / "calls", tmp_path / "cache"
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_open_and_check, args=(folder, calls)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0, 0]
    assert sorted(map(int, calls.read_text().split())) == list(range(COUNT))


def _open_slowly(folder: Path, calls: Path) -> None:
    cached(source(calls, pause=0.3), folder)


def test_a_killed_writer_leaves_nothing_that_counts(tmp_path: Path) -> None:
    calls, folder = tmp_path / "calls", tmp_path / "cache"
    process = multiprocessing.get_context("fork").Process(target=_open_slowly, args=(folder, calls))
    process.start()
    while not list(folder.glob("*.tmp")):
        time.sleep(0.01)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert list(folder.glob("*.tmp"))
    cached(source(calls, "other"), folder)  # whoever comes next cleans up
    assert not list(folder.glob("*.tmp"))
    check(cached(source(calls), folder))


def test_what_another_process_is_writing_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "busy.u8.tmp").write_bytes(b"half")
    with locked(tmp_path / "busy.lock"):
        cached(source(tmp_path / "calls"), tmp_path)
        assert (tmp_path / "busy.u8.tmp").read_bytes() == b"half"


def test_an_error_while_decoding_leaves_no_file(tmp_path: Path) -> None:
    def broken(indices: np.ndarray) -> Decoded:
        if indices[0] > 0:
            raise UserError("the disk went away")
        return Decoded(np.zeros((len(indices), *SHAPE), np.uint8), {}, {})

    with pytest.raises(UserError, match="went away"):
        cached(Source("key", COUNT, SHAPE, broken), tmp_path)
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


def test_a_disk_that_fills_up_is_told(tmp_path: Path) -> None:
    def full(indices: np.ndarray) -> tuple[np.ndarray, dict[int, str]]:
        with open("/dev/full", "wb", buffering=0) as file:
            file.write(b"x")
        raise AssertionError

    with pytest.raises(UserError, match="is full"):
        cached(Source("key", COUNT, SHAPE, full), tmp_path)


def test_a_damaged_cache_is_told(tmp_path: Path) -> None:
    cached(source(tmp_path / "calls"), tmp_path)
    os.truncate(tmp_path / "key.u8", 100)
    with pytest.raises(UserError, match="delete it"):
        cached(source(tmp_path / "calls"), tmp_path)
