"""Ctrl-C, SIGTERM and SIGHUP end a job at a moment at which nothing is cut in two."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# A terminal, `mlflow run` and a parent that dies send several for one wish.
ONE_WISH_SECONDS = 5.0


class Stopped(KeyboardInterrupt):
    """What a signal raises; `exit_code` is that of a shell, 128 and its number."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


class _Wish:
    """The first signal since this process listens."""

    number: int | None = None
    since = 0.0
    raised = False
    forced = False
    holds = 0
    announced = True
    listener: int | None = None


_wish = _Wish()


@contextmanager
def listening(announced: bool = True) -> Iterator[None]:
    """Raise Stopped at a signal, not KeyboardInterrupt or nothing; those that are ignored, as by nohup, stay ignored.

    Signals within five seconds of the first say the same. For the main thread; does nothing in another.
    `announced`: the first is printed.
    """
    if _wish.listener == os.getpid() or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    heard = [number for number in SIGNALS if before[number] is not signal.SIG_IGN]
    for number in heard:
        signal.signal(number, _hear)
    _wish.listener, _wish.announced = os.getpid(), announced
    try:
        yield
    finally:
        for number in heard:
            signal.signal(number, before[number])
        _wish.number, _wish.raised, _wish.forced, _wish.listener = None, False, False, None


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let a signal wait for the end of the block; one that comes more than five seconds after the first does not."""
    with listening():
        _wish.holds += 1
        try:
            yield
        finally:
            _wish.holds -= 1
        _raise_if_due()


@contextmanager
def interruptible() -> Iterator[None]:
    """Within an uninterrupted block: let signals through, also one that came before."""
    holds, _wish.holds = _wish.holds, 0
    try:
        _raise_if_due()
        yield
    finally:
        _wish.holds = holds


def stop_number() -> int:
    """The signal that came, 0 where none did."""
    return _wish.number or 0


def stop_like(number: int) -> None:
    """Take a signal that another process of the same job received for one that came here."""
    if _wish.number is None:
        _wish.number, _wish.since = number, time.monotonic()


def stop_wished() -> bool:
    """Whether a signal came: an uninterrupted block is to come to its end soon."""
    return _wish.number is not None


def stop_forced() -> bool:
    """Whether a later signal came: nothing is to be waited for any more."""
    return _wish.forced


def end_if_wished() -> None:
    """Raise Stopped if a signal came, also where it was raised before and got lost, as in a destructor."""
    if _wish.number is not None:
        _wish.raised = True
        raise Stopped(_wish.number)


def _raise_if_due() -> None:
    if _wish.number is not None and not _wish.raised and not _wish.holds:
        _wish.raised = True
        raise Stopped(_wish.number)


def _hear(number: int, frame: FrameType | None) -> None:
    now = time.monotonic()
    if _wish.number is None:
        _wish.number, _wish.since = number, now
        if _wish.announced:
            _say(f"sslmlflow: {signal.Signals(number).name}: stopping")
        _raise_if_due()
    elif now - _wish.since > ONE_WISH_SECONDS:
        _wish.raised = _wish.forced = True
        raise Stopped(_wish.number)


def _say(text: str) -> None:
    """Write past Python's buffers, which a signal may have come into; where the terminal is gone, to nowhere."""
    try:
        os.write(2, f"{text}\n".encode())
    except OSError:
        with contextlib.suppress(OSError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            for stream in (1, 2):
                os.dup2(nowhere, stream)
