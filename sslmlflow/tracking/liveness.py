"""On which runs a process works: signs of life as tags, where they come from, and the end of runs that give none."""

import contextlib
import hashlib
import platform
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from sslmlflow.errors import in_short
from sslmlflow.home import home
from sslmlflow.texts import printable
from sslmlflow.tracking.lock import is_busy, run_folder
from sslmlflow.tracking.notes import note
from sslmlflow.tracking.server import whole

# Tags: seconds since 1970, the machine, and the place and process (place.process) that work on the run.
HEARTBEAT, HOST, OWNER = "sslmlflow.heartbeat", "sslmlflow.host", "sslmlflow.owner"
PAUSE_SECONDS, REVIVING_SECONDS = 30.0, 3.0
FRESH_SECONDS = 3 * PAUSE_SECONDS


@contextmanager
def signs_of_life(client: MlflowClient, run_id: str, sign: Callable[[], bool]) -> Iterator[None]:
    """Give a sign of life of this process in the run by `sign`, every 30 seconds, until that returns False.

    A server that is away is not waited for.
    """
    ended, reviving = threading.Event(), threading.Lock()

    def beat() -> None:
        while not ended.wait(PAUSE_SECONDS):
            with contextlib.suppress(Exception):  # whatever the server does, the next one may come through
                if not sign():
                    return
                # After a long outage another machine may have taken it for dead.
                if client.get_run(run_id).info.status != "RUNNING":
                    with reviving:
                        if not ended.is_set():
                            client.update_run(run_id, "RUNNING")

    threading.Thread(target=beat, name="sslmlflow-heartbeat", daemon=True).start()
    try:
        yield
    finally:
        ended.set()
        reviving.acquire(timeout=REVIVING_SECONDS)  # it must not come after what is told of the end


def place() -> str:
    """This machine and SSLMLFLOW_HOME: a copy of the folder is another place, and so is the same one elsewhere."""
    folder = home()
    known = f"{platform.node()} {folder.resolve()} {folder.stat().st_ino}"
    return hashlib.sha256(known.encode()).hexdigest()[:12]


def is_of_this_place(tags: Mapping[str, str]) -> bool:
    """Whether the run was last worked on here; of runs of earlier builds only the machine is known."""
    owner = tags.get(OWNER)
    return tags.get(HOST) == platform.node() if owner is None else owner.split(".")[0] == place()


def silence(tags: Mapping[str, str]) -> float | None:
    """Seconds since the run's last sign of life, negative by a clock that is ahead; None for a tag that is no time."""
    beat = tags.get(HEARTBEAT, "")
    return time.time() - int(beat) if re.fullmatch(r"[0-9]{1,11}", beat, re.ASCII) else None


def running(client: MlflowClient) -> list[Run]:
    """All runs of the tracking server that are said to run and have given a sign of life, of every experiment."""
    experiments = [experiment.experiment_id for experiment in whole(client.search_experiments)]
    alive = f"attributes.status = 'RUNNING' AND tags.`{HEARTBEAT}` LIKE '%'"
    return whole(partial(client.search_runs, experiments, alive))


@dataclass(frozen=True)
class Reaped:
    """What became of dead runs: by run id how it is known of those marked as KILLED, and those that may not be."""

    marked: dict[str, str] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)


def reap(client: MlflowClient, runs: Sequence[Run], silent_seconds: float | None = None) -> Reaped:
    """Mark as KILLED those of the runs on which no process works any more.

    Of runs of this machine and SSLMLFLOW_HOME their locks say it. Of others only a heartbeat older than
    `silent_seconds`, if that is given. A heartbeat that is no time, or lies further in the future than that, says
    nothing by itself: then it is watched for 90 seconds, in which a process that lives gives three new ones.
    """
    reaped = Reaped()
    dead = {run.info.run_id: why for run in runs if (why := _dead(run, silent_seconds))}
    if silent_seconds is not None:
        dead |= _unchanged(client, [run for run in runs if _is_doubtful(run, silent_seconds)])
    names = {run.info.run_id: printable(run.info.run_name) for run in runs}
    for run_id, why in dead.items():
        try:
            if end_dead(client, run_id):
                reaped.marked[run_id] = f"{names[run_id]}: {why}"
        except MlflowException as error:
            reaped.refused.append(run_id)
            note(f"run {run_id} is dead ({why}), and cannot be marked as killed: {in_short(error)}")
    return reaped


def end_dead(client: MlflowClient, run_id: str) -> bool:
    """Mark an abandoned run as KILLED; not if it has ended since that was found."""
    if client.get_run(run_id).info.status != "RUNNING":
        return False
    client.set_terminated(run_id, "KILLED")
    return True


def _is_local(run: Run) -> bool:
    return is_of_this_place(run.data.tags) and run_folder(run.info.run_id).exists()


def _dead(run: Run, silent_seconds: float | None) -> str | None:
    if _is_local(run):
        return None if is_busy(run.info.run_id) else "no process of this machine works on it"
    silent = silence(run.data.tags)
    if silent is None or silent_seconds is None or silent <= silent_seconds:
        return None
    return f"no sign of life from {printable(run.data.tags.get(HOST))} for {silent / 60:.0f} minutes"


def _is_doubtful(run: Run, silent_seconds: float) -> bool:
    silent = silence(run.data.tags)
    return not _is_local(run) and (silent is None or silent < -silent_seconds)


def _unchanged(client: MlflowClient, runs: Sequence[Run]) -> dict[str, str]:
    """Which of the runs give no new sign of life in 90 seconds, and how that is known."""
    if not runs:
        return {}
    for run in runs:
        note(
            f"run {run.info.run_id} has the heartbeat {run.data.tags[HEARTBEAT]!r}, which is no time of the past: "
            f"watched for {FRESH_SECONDS:.0f} s"
        )
    time.sleep(FRESH_SECONDS)
    unchanged = {}
    for run in runs:
        with contextlib.suppress(MlflowException):  # deleted, or not to be read any more
            if client.get_run(run.info.run_id).data.tags.get(HEARTBEAT) == run.data.tags[HEARTBEAT]:
                unchanged[run.info.run_id] = f"no new sign of life in {FRESH_SECONDS:.0f} s"
    return unchanged
