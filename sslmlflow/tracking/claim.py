"""The claim of a process on a run: of several that want one run, on any machines, at most one works on it.

The claim is a tag that names the process. It is written and, some seconds later, read again: the last writer has the
run. A process that then finds another's name, or a new sign of life, refuses. Only a run that was last worked on in
another place is claimed so; within one place the lock on the run's folder decides.
"""

import math
import platform
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run, RunTag
from mlflow.exceptions import MlflowException

from sslmlflow.errors import UserError
from sslmlflow.files import write_atomically
from sslmlflow.signals import interruptible
from sslmlflow.texts import printable
from sslmlflow.tracking.liveness import (
    FRESH_SECONDS,
    HEARTBEAT,
    HOST,
    OWNER,
    PAUSE_SECONDS,
    is_of_this_place,
    place,
    silence,
)
from sslmlflow.tracking.notes import note

OWNER_FILE = "owner"  # in the run's folder: the last claim of this place
# To set a tag took 0.04 s in the median and 6.8 s at worst: 8 processes writing to a SQLite file, load 12 on 2 cores.
CLAIM_SECONDS = 5.0
CONFIRMED_SECONDS = 1.5 * PAUSE_SECONDS
POLL_SECONDS = 1.0


class Claim:
    """The claim of this process on a run; `lost` names the machine of the process that has claimed it since."""

    def __init__(self, client: MlflowClient, run_id: str, name: str) -> None:
        self._client = client
        self._run_id = run_id
        self.name = name
        self.heartbeat = str(int(time.time()))  # the last sign of life of this process
        self._confirmed = time.time()  # goes on while a machine sleeps, unlike the monotonic clock
        self.lost: str | None = None

    def holds(self) -> bool:
        """Whether the run is still this process's, by a confirmation that is at most 45 seconds old."""
        if self.lost is None and time.time() - self._confirmed > CONFIRMED_SECONDS:
            return self.confirm()
        return self.lost is None

    def confirm(self) -> bool:
        """Ask the tracking server whether the run is still this process's.

        It is another's that has written its name and a sign of life. A name alone is that of a process that will be
        refused and puts this one's back, or was killed before it could: then this process writes its own again.
        """
        for waited in (CLAIM_SECONDS + 1, 0):
            tags = self._client.get_run(self._run_id).data.tags
            if tags.get(OWNER, self.name) == self.name:
                self._confirmed = time.time()
                return True
            time.sleep(waited)
        if tags.get(HEARTBEAT) == self.heartbeat:
            note(f"run {self._run_id} was claimed by {tags[OWNER]}, which gave no sign of life: the claim is renewed")
            self._client.set_tag(self._run_id, OWNER, self.name)
            self._confirmed = time.time()
            return True
        self.lost = printable(tags.get(HOST))
        return False

    def sign(self) -> bool:
        """Give a sign of life; False where the run is another's by now."""
        if not self.confirm():
            return False
        self.heartbeat = str(int(time.time()))
        self._client.set_tag(self._run_id, HEARTBEAT, self.heartbeat)
        return True

    def require(self) -> None:
        """UserError where the run was lost."""
        if self.lost is not None:
            raise UserError(
                f"run {self._run_id} was claimed by another process, on {self.lost}, while this one could give no sign "
                "of life: this one ends, and changes nothing on the tracking server."
            )


def claim(client: MlflowClient, run_id: str, folder: Path, check: Callable[[], None] = lambda: None) -> Claim:
    """Make the run this process's. UserError, and nothing is changed, where another process works on it.

    `check` raises a UserError where the run cannot be resumed; it is asked again if another process was waited for.
    """
    mine = Claim(client, run_id, f"{place()}.{uuid.uuid4().hex[:8]}")
    check()
    before = client.get_run(run_id)
    try:
        _begin(client, run_id, mine, check)
    except MlflowException:
        _restore(client, before)
        raise
    write_atomically(folder / OWNER_FILE, mine.name.encode())
    return mine


def _begin(client: MlflowClient, run_id: str, mine: Claim, check: Callable[[], None]) -> None:
    """Write name, machine and a first sign of life, once no other process works on the run."""
    seen = -math.inf
    # What was seen of others is old news after some seconds, on a machine or a server that stands still for so long.
    while time.monotonic() - seen > CLAIM_SECONDS / 2:
        seen = time.monotonic()
        tags = client.get_run(run_id).data.tags
        if HEARTBEAT in tags and not (OWNER in tags and is_of_this_place(tags)):
            seen = _take_over(client, run_id, mine.name, check)
        # Before the sign of life: a process that reads the run in between finds one that runs, and watches it.
        client.update_run(run_id, "RUNNING")
    mine.heartbeat = str(int(time.time()))
    signs = {OWNER: mine.name, HOST: platform.node(), HEARTBEAT: mine.heartbeat}
    client.log_batch(run_id, tags=[RunTag(key, text) for key, text in signs.items()])


def _restore(client: MlflowClient, before: Run) -> None:
    """Leave a run that could not be begun as it was; one that was only made for this has failed."""
    run_id, status = before.info.run_id, before.info.status
    with suppress(MlflowException):  # the server is away for longer
        if HEARTBEAT not in before.data.tags:
            client.set_terminated(run_id, "FAILED")
        elif status != "RUNNING":
            client.update_run(run_id, status)


def is_continued_elsewhere(tags: Mapping[str, str], folder: Path) -> bool:
    """Whether another place has claimed the run since a process worked in this folder, which may have been moved."""
    file = folder / OWNER_FILE
    if OWNER not in tags or is_of_this_place(tags):
        return False
    return not file.exists() or file.read_text() != tags[OWNER]


def _take_over(client: MlflowClient, run_id: str, name: str, check: Callable[[], None]) -> float:
    """Claim a run that was last worked on elsewhere; when it was seen to be this process's."""
    before = _silent(client, run_id)
    check()
    client.set_tag(run_id, OWNER, name)
    time.sleep(CLAIM_SECONDS)
    seen = time.monotonic()
    now = client.get_run(run_id).data.tags
    if now.get(OWNER) != name:
        raise _refusal(run_id, now)
    if now.get(HEARTBEAT) != before.get(HEARTBEAT):
        if OWNER in before:
            client.set_tag(run_id, OWNER, before[OWNER])
        else:  # a process of an earlier build
            client.delete_tag(run_id, OWNER)
        raise _refusal(run_id, now)
    return seen


def _silent(client: MlflowClient, run_id: str) -> Mapping[str, str]:
    """The tags of the run once no process gives signs of life; UserError where one does.

    A run that ended is silent. One that runs is watched until its last sign of life is 90 seconds old, and in any case
    for longer than such signs are apart, since the other clock may be wrong.
    """
    run = client.get_run(run_id)
    if run.info.status != "RUNNING":
        return run.data.tags
    heartbeat, age = run.data.tags.get(HEARTBEAT), silence(run.data.tags)
    seconds = FRESH_SECONDS if age is None else min(max(FRESH_SECONDS - age, PAUSE_SECONDS + 5), FRESH_SECONDS)
    print(
        f"run {run_id} was last worked on elsewhere, on {printable(run.data.tags.get(HOST))}: waiting for up to "
        f"{seconds:.0f} s to see whether a process still works on it",
        flush=True,
    )
    until = time.monotonic() + seconds
    while run.info.status == "RUNNING" and time.monotonic() < until:
        with interruptible():
            time.sleep(POLL_SECONDS)
        run = client.get_run(run_id)
        if run.data.tags.get(HEARTBEAT) != heartbeat:
            raise _refusal(run_id, run.data.tags)
    return run.data.tags


def _refusal(run_id: str, tags: Mapping[str, str]) -> UserError:
    age = silence(tags)
    since = "" if age is None else f" (last sign of life {max(age, 0):.0f} s ago)"
    return UserError(
        f"another process works on run {run_id}, on {printable(tags.get(HOST))}{since}: it is left alone. Stop that "
        "process first, or start a new run with --resume=none."
    )
