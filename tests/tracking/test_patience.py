"""How long a server that does not answer is waited for, without a signal, after one, and after a second."""

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from sslmlflow import signals
from sslmlflow.signals import Stopped, listening, uninterrupted
from sslmlflow.tracking import patience
from sslmlflow.tracking.patience import comes_to_its_end, tried


@pytest.fixture
def hangs() -> Iterator[threading.Thread]:
    """A thread that comes to no end while the test lasts."""
    over = threading.Event()
    thread = threading.Thread(target=over.wait, daemon=True)
    thread.start()
    yield thread
    over.set()


def waited(thread: threading.Thread, seconds: float, stopped_seconds: float) -> float:
    started = time.monotonic()
    assert not comes_to_its_end(thread, seconds, stopped_seconds)
    return time.monotonic() - started


def test_a_signal_shortens_the_patience_and_a_second_one_ends_it(
    hangs: threading.Thread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals, "ONE_WISH_SECONDS", 0.0)
    monkeypatch.setattr(patience, "TELL_SECONDS", 300.0)
    assert waited(hangs, 0.3, 60) >= 0.3

    def stopped_twice() -> None:
        with listening(), uninterrupted():
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
            assert waited(hangs, 300, 0.5) < 60
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
            try:
                waited(hangs, 300, 300)
            finally:  # what follows waits for nothing any more
                started = time.monotonic()
                assert isinstance(tried(threading.Event().wait, 300.0), TimeoutError)
                assert time.monotonic() - started < 20

    with pytest.raises(Stopped):
        stopped_twice()


def test_what_was_tried_has_its_error_and_what_does_not_answer_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "TELL_SECONDS", 0.2)
    assert tried(lambda: None) is None
    assert str(tried(lambda: int("x"))).startswith("invalid literal")
    over = threading.Event()
    assert isinstance(tried(over.wait), TimeoutError)
    over.set()


@pytest.mark.parametrize(("stopped_seconds", "in_time"), [(60.0, True), (0.2, False)])
def test_a_stop_leaves_a_call_the_time_that_it_is_given(stopped_seconds: float, in_time: bool) -> None:
    def stopped() -> None:
        with listening(), uninterrupted():
            os.kill(os.getpid(), signal.SIGTERM)
            error = tried(lambda: time.sleep(2), stopped_seconds)
            assert (error is None) == in_time, error

    with pytest.raises(Stopped):
        stopped()
