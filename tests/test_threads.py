"""A thread that dies of a lack of memory before it begins is not waited for without limit."""

import signal
import threading
from collections.abc import Iterator

import pytest

from sslmlflow.threads import start


class Dead(threading.Thread):
    def _bootstrap(self) -> None:
        """What is left of a thread whose first lines get no memory: it never reports that it has begun."""


@pytest.fixture(autouse=True)
def alarm_of_others() -> Iterator[None]:
    """What somebody else has set is left as it was."""
    handler, (seconds, _) = signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)
    yield
    assert signal.getsignal(signal.SIGALRM) is handler
    assert seconds - 20 < signal.getitimer(signal.ITIMER_REAL)[0] <= seconds


def test_a_thread_that_never_begins_is_a_lack_of_memory() -> None:
    with pytest.raises(MemoryError, match="did not begin"):
        start(Dead(daemon=True), patience=0.2)


def test_threads_begin_from_any_thread() -> None:
    begun = threading.Event()

    def begin_another() -> None:
        start(threading.Thread(target=begun.set))

    start(threading.Thread(target=begin_another))
    assert begun.wait(10)
