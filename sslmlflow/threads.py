"""Threads that die before they begin, where `ulimit -v` leaves them no memory."""

import resource
import signal
import threading
from types import FrameType

PATIENCE_SECONDS = 30.0
_start = threading.Thread.start


def guard_starts() -> None:
    """Under `ulimit -v`, raise MemoryError for a thread that does not begin, in whichever library.

    A thread can die of a lack of memory before it reports that it has begun, and Python waits for that report without
    limit. An alarm ends the wait; only the main thread can set one.
    """
    if resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY:
        threading.Thread.start = _guarded_start  # type: ignore[assignment, method-assign]


def _guarded_start(thread: threading.Thread) -> None:
    if threading.current_thread() is not threading.main_thread():
        _start(thread)
        return
    before = signal.signal(signal.SIGALRM, _give_up)
    timer = signal.setitimer(signal.ITIMER_REAL, PATIENCE_SECONDS)
    try:
        _start(thread)
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)
        signal.signal(signal.SIGALRM, before)


def _give_up(number: int, frame: FrameType | None) -> None:
    raise MemoryError("a thread did not begin")
