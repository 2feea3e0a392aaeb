"""Reading processes: whatever happens, they are gone soon after, and what happened arrives in words."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from typing import Any

import numpy as np
import psutil
import pytest

from sslmlflow.errors import UserError
from sslmlflow.signals import SIGNALS, Stopped, uninterrupted
from sslmlflow.training.readers import read_ahead
from tests.conftest import ROOT

SHAPE = (3, 2)
Batches = Generator[np.ndarray, None, None]


def numbered(step: int) -> np.ndarray:
    return np.full(SHAPE, step, np.uint8)


def stream(read: Callable[[int], np.ndarray] = numbered, steps: range = range(40), readers: int = 2) -> Batches:
    return read_ahead(read, steps, SHAPE, readers)


def readers() -> list[psutil.Process]:
    """The youngest children of this process: others may have been started by fixtures."""
    return [child for child in psutil.Process().children() if child.cmdline() == psutil.Process().cmdline()]


def assert_gone(processes: list[psutil.Process]) -> None:
    assert processes
    _, alive = psutil.wait_procs(processes, timeout=5)
    assert not alive, "readers work on"


@pytest.mark.parametrize(("count", "steps"), [(1, range(5)), (2, range(7, 40)), (3, range(2)), (2, range(0))])
def test_batches_come_in_order_and_keep_what_is_in_them(count: int, steps: range) -> None:
    assert [batch.tolist() for batch in list(stream(steps=steps, readers=count))] == [
        numbered(step).tolist() for step in steps
    ]
    assert not readers()


def test_readers_are_gone_when_the_training_stops_early_or_fails() -> None:
    batches = stream()
    next(batches)
    started = readers()
    batches.close()
    assert_gone(started)
    with suppress(ZeroDivisionError), closing(stream()) as batches:
        next(batches)
        started = readers()
        raise ZeroDivisionError
    assert_gone(started)


def raise_at(step: int, error: Exception) -> Callable[[int], np.ndarray]:
    def read(at: int) -> np.ndarray:
        if at == step:
            raise error
        return numbered(at)

    return read


@pytest.mark.parametrize(
    ("error", "expected", "said"),
    [
        (UserError("cat.png is gone. Start again."), UserError, r"^cat\.png is gone\. Start again\.$"),
        (MemoryError("Unable to allocate 3 GiB"), MemoryError, "Unable to allocate 3 GiB"),
        (OSError(12, "Cannot allocate memory"), MemoryError, "Cannot allocate memory"),
        (PermissionError(13, "Permission denied", "dog.png"), PermissionError, r"Permission denied: 'dog\.png'"),
        (KeyError("a mistake of ours"), RuntimeError, r"(?s)in raise_at|Traceback.*a mistake of ours"),
    ],
)
def test_what_a_reader_raises_arrives_at_its_step(error: Exception, expected: type[Exception], said: str) -> None:
    batches = stream(raise_at(5, error))
    assert [int(next(batches)[0, 0]) for _ in range(5)] == [0, 1, 2, 3, 4]
    started = readers()
    with pytest.raises(expected, match=said):
        next(batches)
    assert_gone(started)


@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGXCPU])
def test_a_reader_that_was_killed_is_reported_and_the_others_end(victim: int, number: signal.Signals) -> None:
    batches = stream(lambda step: time.sleep(0.01) or numbered(step), range(1000))
    next(batches)
    started = readers()
    started[victim].send_signal(number)
    with pytest.raises(UserError, match=rf"a reading process was killed \(signal {int(number)}\).*lower --workers"):
        list(batches)
    assert_gone(started)


def test_a_reader_that_ends_by_itself_is_reported() -> None:
    with pytest.raises(UserError, match=r"a reading process ended \(exit code 3\)"):
        list(stream(lambda step: os._exit(3)))


@pytest.mark.parametrize("number", SIGNALS)
def test_signals_that_stop_a_training_stop_no_reader(number: signal.Signals) -> None:
    batches = stream()
    taken = [next(batches)]
    for reader in readers():
        reader.send_signal(number)
    assert len([*taken, *batches]) == 40


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("number", SIGNALS)
def test_a_stop_request_is_obeyed_while_reading_stands_still(number: signal.Signals) -> None:
    left: list[np.ndarray] = []
    with pytest.raises(Stopped):
        _stand_still(number, left)
    assert len(left) <= 4  # what had been read ahead


def _stand_still(number: signal.Signals, left: list[np.ndarray]) -> None:
    with uninterrupted():
        batches = stream()
        next(batches)
        started = readers()
        for reader in started:
            reader.suspend()
        os.kill(os.getpid(), number)
        before = time.monotonic()
        left.extend(batches)
        assert time.monotonic() - before < 5
        assert_gone(started)


def test_readers_end_when_the_training_is_killed() -> None:
    inside, outside = os.pipe()
    if (training := os.fork()) == 0:
        batches = stream()
        next(batches)
        os.write(outside, " ".join(str(reader.pid) for reader in readers()).encode())
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(training, 0)
    assert_gone([psutil.Process(int(pid)) for pid in os.read(inside, 100).split() if psutil.pid_exists(int(pid))])


def test_a_reader_that_cannot_be_started_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.fork
    forks: list[int] = []

    def second_fails() -> int:
        if forks:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        forks.append(before())
        return forks[0]

    monkeypatch.setattr(os, "fork", second_fails)
    with pytest.raises(UserError, match=r"Resource temporarily unavailable. Give a lower --workers"):
        next(stream())
    assert not psutil.pid_exists(forks[0])


READ_LARGE = """
import numpy as np
from sslmlflow.training.readers import read_ahead
read = lambda step: np.full((3, 1_000_000), step, np.uint8)
assert [int(batch[2, -1]) for batch in read_ahead(read, range(9), (3, 1_000_000), 2)] == list(range(9))
"""


def test_batches_may_be_larger_than_dev_shm() -> None:
    small = "mount -t tmpfs -o size=64k tmpfs /dev/shm && "
    namespace: dict[str, Any] = {"cwd": ROOT, "capture_output": True, "text": True, "timeout": 60}
    if subprocess.run(["unshare", "-m", "sh", "-c", small + "true"], **namespace).returncode:
        pytest.skip("no file system can be mounted here")
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", small + 'exec "$@"', "-", sys.executable, "-c", READ_LARGE], **namespace
    )
    assert done.returncode == 0, done.stderr
