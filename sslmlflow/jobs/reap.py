"""Command `reap`: mark dead runs as killed."""

from sslmlflow.config.upkeep import Reap
from sslmlflow.errors import UserError
from sslmlflow.tracking.liveness import reap, running
from sslmlflow.tracking.server import connect


def run(config: Reap) -> None:
    """Reap from the command line; fails if there are dead runs and none of them may be marked."""
    client = connect()
    runs = running(client)
    reaped = reap(client, runs, 60 * config.silent_minutes)
    for run_id, why in reaped.marked.items():
        print(f"marked as killed: run {run_id}, {why}")
    print(f"{len(reaped.marked) + len(reaped.refused)} of {len(runs)} running runs were dead")
    if reaped.refused and not reaped.marked:
        raise UserError(f"the tracking server lets none of these be marked as killed: {', '.join(reaped.refused)}.")
