"""A signal at an exact instant: right before the n-th time that a process does something to some file."""

import os
import sys
import threading


def set_trap(event: str, path: str, count: int = 1, number: int = 9, to: str = "leader", delay: float = 0.0) -> None:
    """Send signal `number` so many seconds before the `count`th audit event (os.rename, …) of a path with `path` in it.

    `to` is the leader of its process group, which is itself where nothing stands in between, or the whole group.
    """
    own, seen = os.getpid(), 0

    def hear(name: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        if name != event or os.getpid() != own or not any(path in str(argument) for argument in arguments):
            return
        seen += 1
        if seen == count and delay:
            threading.Timer(delay, send).start()
        elif seen == count:
            send()

    def send() -> None:
        if to == "group":
            os.killpg(0, number)
        else:
            os.kill(os.getpgrp(), number)

    sys.addaudithook(hear)
