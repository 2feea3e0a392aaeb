"""Command `sync`: send what is kept of runs on this machine and the tracking server does not have."""

from pathlib import Path
from typing import Literal

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from sslmlflow.config.upkeep import Sync
from sslmlflow.errors import UserError, in_short
from sslmlflow.home import home
from sslmlflow.runs.retention import after_sending
from sslmlflow.tracking.claim import is_continued_elsewhere
from sslmlflow.tracking.lock import is_busy, locked, run_folder
from sslmlflow.tracking.run import ENDED
from sslmlflow.tracking.sender import Sender
from sslmlflow.tracking.server import address, connect, is_there
from sslmlflow.tracking.spool import left_in

Outcome = Literal["all sent", "left alone", "failed"]


def run(config: Sync) -> None:
    """Send from the command line; fails if anything is left that could have been sent."""
    client = connect()
    kept = sorted(folder.name for folder in (home() / "runs").glob("*/"))
    if config.run and config.run not in kept:
        raise UserError(
            f"nothing is kept of run {config.run} in {home() / 'runs'}: set SSLMLFLOW_HOME to where it began."
        )
    outcomes = {run_id: _outcome(client, run_id) for run_id in ([config.run] if config.run else kept)}
    if failed := [run_id for run_id, outcome in outcomes.items() if outcome == "failed"]:
        raise UserError(f"not everything was sent of {', '.join(failed)}: the same command tries again.")
    print(f"nothing {'else ' if 'left alone' in outcomes.values() else ''}is left to send")


def _outcome(client: MlflowClient, run_id: str) -> Outcome:
    """Send what is left of a run, where it is for this command to send; whatever happens, the next run has its turn."""
    try:
        if is_busy(run_id):
            print(f"run {run_id} is being worked on: it sends by itself")
            return "left alone"
        with locked(run_id):
            return _send(client, run_id, run_folder(run_id))
    except (UserError, MlflowException, OSError) as error:
        print(f"run {run_id}: {in_short(error)}")
        return "failed"


def _send(client: MlflowClient, run_id: str, folder: Path) -> Outcome:
    spooled, ended = folder / "spool.db", folder / ENDED
    count = left_in(spooled)
    if not count and not ended.exists():
        return "all sent"
    if not is_there(client, run_id):
        print(f"run {run_id} is not on {address()}, or was deleted there: left alone")
        return "left alone"
    if is_continued_elsewhere(client.get_run(run_id).data.tags, folder):
        print(f"run {run_id} was continued in another SSLMLFLOW_HOME, which sends all of it: left alone")
        return "left alone"
    if count:
        print(f"run {run_id}: sending {count} metric points and milestones")
        if not Sender(spooled, client, run_id, after_sending(client, run_id)).close():
            return "failed"
    if ended.exists():
        if client.get_run(run_id).info.status != "FINISHED":  # it may have gone on from another machine
            client.set_terminated(run_id, ended.read_text())
        ended.unlink()
    return "all sent"
