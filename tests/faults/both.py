"""A program that runs one command in several homes at the same moment, each in a process of its own."""

import os
import sys
import time
from collections.abc import Sequence

from sslmlflow.cli import main as command_line


def main(arguments: Sequence[str]) -> int:
    """Arguments: homes separated by `:`, then the command; the exit status is how many ended with 0."""
    moment = time.time() + 0.1
    children = [_forked(home, moment, arguments[1:]) for home in arguments[0].split(":")]
    return sum(os.waitpid(child, 0)[1] == 0 for child in children)


def _forked(home: str, moment: float, command: Sequence[str]) -> int:
    child = os.fork()
    if child:
        return child
    os.environ["SSLMLFLOW_HOME"] = home
    time.sleep(max(0.0, moment - time.time()))
    status = 70
    try:
        status = command_line(command)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
