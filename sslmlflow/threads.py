"""Starting a thread where memory may have run out."""

import signal
import threading
from types import FrameType

PATIENCE_SECONDS = 30.0


def start(thread: threading.Thread, patience: float = PATIENCE_SECONDS) -> None:
    """Start a thread; MemoryError if it has not begun after `patience` seconds.

    Python waits without limit for a thread that died of a lack of memory before it could report that it has begun. An
    alarm ends that wait; only the main thread can set one.
    """
    if threading.current_thread() is not threading.main_thread():
        thread.start()
        return
    before = signal.signal(signal.SIGALRM, _give_up)
    timer = signal.setitimer(signal.ITIMER_REAL, patience)
    try:
        thread.start()
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)
        signal.signal(signal.SIGALRM, before)


def _give_up(number: int, frame: FrameType | None) -> None:
    raise MemoryError("a thread did not begin")
