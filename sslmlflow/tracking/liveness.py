"""Which runs somebody still works on: signs of life as tags, and the end of runs that give none."""

import contextlib
import platform
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from mlflow import MlflowClient
from mlflow.entities import Run

from sslmlflow.tracking.lock import is_busy, run_folder
from sslmlflow.tracking.server import whole

HEARTBEAT, HOST = "sslmlflow.heartbeat", "sslmlflow.host"  # tags: seconds since 1970, and of which machine
PAUSE_SECONDS, REVIVING_SECONDS = 30.0, 3.0


@contextmanager
def signs_of_life(client: MlflowClient, run_id: str) -> Iterator[None]:
    """Say in the run, every 30 seconds, that this process works on it; a server that is away is not waited for."""
    client.set_tag(run_id, HOST, platform.node())
    client.set_tag(run_id, HEARTBEAT, str(int(time.time())))
    ended, reviving = threading.Event(), threading.Lock()

    def beat() -> None:
        while not ended.wait(PAUSE_SECONDS):
            with contextlib.suppress(Exception):  # whatever the server does, the next one may come through
                client.set_tag(run_id, HEARTBEAT, str(int(time.time())))
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


def running(client: MlflowClient) -> list[Run]:
    """All runs of the tracking server that are said to run and have given a sign of life, of every experiment."""
    experiments = [experiment.experiment_id for experiment in whole(client.search_experiments)]
    alive = f"attributes.status = 'RUNNING' AND tags.`{HEARTBEAT}` LIKE '%'"
    return whole(partial(client.search_runs, experiments, alive))


def reap(client: MlflowClient, runs: list[Run], silent_seconds: float | None = None) -> dict[str, str]:
    """Mark as KILLED those of the runs on which nobody works any more; their names, and how that is known, by run id.

    Of runs of this machine and SSLMLFLOW_HOME their locks say it. Of others only a heartbeat older than
    `silent_seconds`, if that is given.
    """
    reaped = {}
    for run in runs:
        why = _dead(run, silent_seconds)
        if why and end_dead(client, run.info.run_id):
            reaped[run.info.run_id] = f"{run.info.run_name}: {why}"
    return reaped


def end_dead(client: MlflowClient, run_id: str) -> bool:
    """Mark a run as KILLED on which nobody works any more; not if it has ended since that was found."""
    if client.get_run(run_id).info.status != "RUNNING":
        return False
    client.set_terminated(run_id, "KILLED")
    return True


def _dead(run: Run, silent_seconds: float | None) -> str | None:
    tags, run_id = run.data.tags, run.info.run_id
    if tags.get(HOST) == platform.node() and run_folder(run_id).exists():
        return None if is_busy(run_id) else "no process of this machine works on it"
    silent = time.time() - float(tags[HEARTBEAT])
    if silent_seconds is None or silent <= silent_seconds:
        return None
    return f"no sign of life from {tags.get(HOST)} for {silent / 60:.0f} minutes"
