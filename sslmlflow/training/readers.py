"""Processes that read batches ahead of the training.

Batches cross in anonymous shared memory, which no size of /dev/shm limits. The training waits with a timeout, so that
it notices a reader that died and obeys a stop request while reading stands still. It ends readers by SIGKILL: they
ignore the signals that stop a training, because one that is sent to all processes must not cut a step in two. They are
plain forks and no `multiprocessing.Process`, for which the end of Python would wait.
"""

import mmap
import os
import signal
import traceback
from collections.abc import Callable, Generator
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection

import numpy as np
from numpy.typing import NDArray

from sslmlflow.errors import UserError
from sslmlflow.shortage import out_of_memory
from sslmlflow.signals import SIGNALS, stop_wished

AHEAD = 2  # batches that each reader may be ahead
POLL_SECONDS = 0.1
PARENT_POLL_SECONDS = 1.0

Read = Callable[[int], NDArray[np.uint8]]


def read_ahead(
    read: Read, steps: range, shape: tuple[int, ...], readers: int
) -> Generator[NDArray[np.uint8], None, None]:
    """Yield `read(step)`, an array of `shape`, for each of the steps in their order, read by other processes.

    The processes are gone when the generator has ended, was closed, or failed.

    Args:
        read: Reads the batch of a step; called in the reading processes.
        steps: The steps, in order.
        shape: The shape of each batch.
        readers: How many processes read, at least 1.

    Returns:
        The batches. They end early when a stop is requested and the next batch is not there.

    Raises:
        UserError: A reader raised it, was killed, or could not be started.
        MemoryError: A reader ran out of memory.
    """
    started: list[_Reader] = []
    try:
        for _ in range(min(readers, len(steps))):
            started.append(_Reader(read, shape))
        turns = [(started[place % len(started)], step) for place, step in enumerate(steps[: AHEAD * len(started)])]
        for reader, step in turns:
            reader.ask(step)
        for place in range(len(steps)):
            reader = started[place % len(started)]
            while not reader.has_answered(POLL_SECONDS):
                if stop_wished():
                    return
            batch = reader.take()
            if place + AHEAD * len(started) < len(steps):
                reader.ask(steps[place + AHEAD * len(started)])
            yield batch
    finally:
        for reader in started:
            reader.kill()
        for reader in started:
            reader.wait()


class _Reader:
    """A process that reads batches, one after the other, into places of memory that it shares with the training."""

    def __init__(self, read: Read, shape: tuple[int, ...]) -> None:
        self._asked = self._taken = 0
        self._exit_code: int | None = None
        self._connection, other = Pipe()
        parent = os.getpid()
        try:
            memory = mmap.mmap(-1, AHEAD * int(np.prod(shape)))
            self._places = np.frombuffer(memory, np.uint8).reshape(AHEAD, *shape)
            # A signal that came before the reader ignores it would make it stop as a training does.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
            try:
                self._process = os.fork()
                if self._process == 0:
                    _serve(read, self._places, other, parent, before)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
        except OSError as error:
            raise UserError(f"cannot start a reading process: {error.strerror}. Give a lower --workers.") from error
        other.close()

    def ask(self, step: int) -> None:
        """Let it read the batch of a step into the next place, whose batch was taken."""
        try:
            self._connection.send((step, self._asked % AHEAD))
        except OSError:  # it has died, which is reported when its batch is waited for
            return
        self._asked += 1

    def has_answered(self, seconds: float) -> bool:
        """Whether there is something to take, or nothing to wait for; waits for it so long."""
        return self._connection.poll(seconds)

    def take(self) -> NDArray[np.uint8]:
        """The oldest batch that was asked for; raises what reading it raised."""
        try:
            failure = self._connection.recv()
        except (EOFError, OSError):
            raise UserError(self._how_it_ended()) from None
        if failure is not None:
            raise failure
        batch: NDArray[np.uint8] = self._places[self._taken % AHEAD].copy()
        self._taken += 1
        return batch

    def kill(self) -> None:
        """Let it end at once."""
        if self._exit_code is None:
            with suppress(ProcessLookupError):  # it has ended, and SIGCHLD is ignored
                os.kill(self._process, signal.SIGKILL)

    def wait(self) -> int:
        """Its exit code, as `os.waitstatus_to_exitcode` gives it, once it has ended."""
        if self._exit_code is None:
            self._exit_code = 1
            with suppress(ChildProcessError):  # where SIGCHLD is ignored, how it ended is not known
                self._exit_code = os.waitstatus_to_exitcode(os.waitpid(self._process, 0)[1])
            self._connection.close()
        return self._exit_code

    def _how_it_ended(self) -> str:
        code = self.wait()
        how = f"was killed (signal {-code})" if code < 0 else f"ended (exit code {code})"
        return (
            f"a reading process {how}. The system does this when memory runs out: resume the run with a lower "
            "--workers, or start another with a lower --batch_size."
        )


def _serve(
    read: Read, places: NDArray[np.uint8], connection: Connection, parent: int, mask: set[int | signal.Signals]
) -> None:
    """What a reader does until its parent is gone. It never returns: what follows is the training's."""
    try:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        while True:
            # The end of the connection does not show the parent's death: readers started later hold it open, too.
            while not connection.poll(PARENT_POLL_SECONDS):
                if os.getppid() != parent:
                    return
            step, place = connection.recv()
            failure: Exception | None = None
            try:
                places[place] = read(step)
            except Exception as error:
                failure = _sendable(error)
            connection.send(failure)
    finally:
        os._exit(1)


def _sendable(error: Exception) -> Exception:
    """The error as it is, where the other process reports it in one sentence, else with its traceback as text."""
    if out_of_memory(error):
        return MemoryError(str(error))
    if isinstance(error, (UserError, OSError)):
        return error
    return RuntimeError(f"in a reading process:\n{traceback.format_exc()}")
