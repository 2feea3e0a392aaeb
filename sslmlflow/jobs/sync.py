"""Command `sync`: send what is kept of runs on this machine and the tracking server does not have."""

from mlflow import MlflowClient

from sslmlflow.config.upkeep import Sync
from sslmlflow.errors import UserError
from sslmlflow.home import home
from sslmlflow.tracking.lock import is_busy, locked, run_folder
from sslmlflow.tracking.run import ENDED
from sslmlflow.tracking.sender import Sender
from sslmlflow.tracking.server import address, connect, is_there
from sslmlflow.tracking.spool import Spool


def run(config: Sync) -> None:
    """Send from the command line; fails if anything is left."""
    client = connect()
    kept = sorted(folder.name for folder in (home() / "runs").glob("*/"))
    if config.run and config.run not in kept:
        raise UserError(
            f"nothing is kept of run {config.run} in {home() / 'runs'}: set SSLMLFLOW_HOME to where it began."
        )
    left = [run_id for run_id in ([config.run] if config.run else kept) if not _sent(client, run_id)]
    if left:
        raise UserError(f"not everything was sent of {', '.join(left)}: the same command tries again.")
    print("nothing is left to send")


def _sent(client: MlflowClient, run_id: str) -> bool:
    """Send what is left of a run; whether all is sent now, or is not for this command to send."""
    folder = run_folder(run_id)
    if is_busy(run_id):
        print(f"run {run_id} is being worked on: it sends by itself")
        return True
    spool = Spool(folder / "spool.db") if (folder / "spool.db").exists() else None
    count = spool.count_unsent() if spool else 0
    if not count and not (folder / ENDED).exists():
        return True
    if not is_there(client, run_id):
        print(f"run {run_id} is not on {address()}, or was deleted there: left alone")
        return True
    with locked(run_id):
        if spool and count:
            print(f"run {run_id}: sending {count} metric points and milestones")
            if not Sender(spool, client, run_id).close():
                return False
        if (folder / ENDED).exists():
            client.set_terminated(run_id, (folder / ENDED).read_text())
            (folder / ENDED).unlink()
    return True
