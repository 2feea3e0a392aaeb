"""Command `reap`: mark dead runs as killed."""

from sslmlflow.config.upkeep import Reap
from sslmlflow.tracking.liveness import reap, running
from sslmlflow.tracking.server import connect


def run(config: Reap) -> None:
    """Reap from the command line."""
    client = connect()
    runs = running(client)
    reaped = reap(client, runs, 60 * config.silent_minutes)
    for run_id, told in reaped.items():
        print(f"marked as killed: run {run_id}, {told}")
    print(f"{len(reaped)} of {len(runs)} running runs were dead")
