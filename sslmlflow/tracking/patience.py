"""Waiting for a tracking server that may never answer: for minutes, but for seconds once a signal wishes the end."""

import threading
import time
from collections.abc import Callable

from sslmlflow.signals import stop_forced, stop_wished

# To send what is left, and to tell how a run ended. Who was stopped waits so much less that both fit, with a step and
# its saving, into the ten seconds after which Docker kills; and hardly at all after a second signal.
SEND_SECONDS, TELL_SECONDS = 120.0, 30.0
STOPPED_SEND_SECONDS, STOPPED_TELL_SECONDS, FORCED_SECONDS = 4.0, 3.0, 0.5

# Where a stop came before the job began: nothing was to be saved, and a busy machine takes seconds to import what opens
# a database.
STOPPED_OPEN_SECONDS = 8.0


def comes_to_its_end(thread: threading.Thread, seconds: float, stopped_seconds: float) -> bool:
    """Wait for a thread so long, or so much less from when a signal came; whether it came to its end."""
    until = time.monotonic() + seconds
    limits = [(stop_forced, FORCED_SECONDS), (stop_wished, stopped_seconds)]
    while thread.is_alive() and (left := until - time.monotonic()) > 0:
        thread.join(min(left, 0.1))
        for hurried, limit in limits:
            if hurried():
                until = min(until, time.monotonic() + limit)
                limits.remove((hurried, limit))
                break
    return not thread.is_alive()


def tried(call: Callable[[], object], stopped_seconds: float = STOPPED_TELL_SECONDS) -> Exception | None:
    """Call something of the server's, as long as patience lasts; the error that it came to, if any."""
    errors: list[Exception] = []

    def work() -> None:
        try:
            call()
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=work, name="sslmlflow-call", daemon=True)
    thread.start()
    if not comes_to_its_end(thread, TELL_SECONDS, stopped_seconds):
        return TimeoutError("it does not answer")
    return errors[0] if errors else None
