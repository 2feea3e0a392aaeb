"""Waiting for a tracking server that may never answer: for minutes, but for seconds once a signal wishes the end."""

import threading
import time
from collections.abc import Callable

from sslmlflow.signals import stop_wished

PATIENCE_SECONDS, STOPPED_SECONDS = 120.0, 5.0


def comes_to_its_end(thread: threading.Thread, seconds: float = PATIENCE_SECONDS) -> bool:
    """Wait for a thread so long, or five seconds from when a signal came; whether it came to its end."""
    until, hurried = time.monotonic() + seconds, False
    while thread.is_alive() and (left := until - time.monotonic()) > 0:
        thread.join(min(left, 0.1))
        if stop_wished() and not hurried:
            until, hurried = min(until, time.monotonic() + STOPPED_SECONDS), True
    return not thread.is_alive()


def tried(call: Callable[[], object]) -> Exception | None:
    """Call something of the server's, as long as patience lasts; the error that it came to, if any."""
    errors: list[Exception] = []

    def work() -> None:
        try:
            call()
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=work, name="sslmlflow-call", daemon=True)
    thread.start()
    if not comes_to_its_end(thread):
        return TimeoutError("it does not answer")
    return errors[0] if errors else None
