"""Run the program as its user would, and find again what it has done."""

import subprocess
import sys
from collections.abc import Sequence

from mlflow.entities import Run

from sslmlflow.tracking.same_job import ENTRY_POINT
from sslmlflow.tracking.server import connect, current_experiment


def sslmlflow(*arguments: str) -> None:
    """One sub-command, to its end."""
    subprocess.run([sys.executable, "-m", "sslmlflow", *arguments], check=True)


def finished(entry_point: str, arguments: Sequence[str]) -> Run | None:
    """The latest finished run of an entry point that was given these arguments."""
    given = dict(argument.removeprefix("--").split("=", 1) for argument in arguments)
    conditions = ["status = 'FINISHED'", f"tags.`{ENTRY_POINT}` = '{entry_point}'"]
    conditions += [f"params.`{name}` = '{value}'" for name, value in given.items()]
    client = connect()
    found = client.search_runs([current_experiment(client)], " AND ".join(conditions), order_by=["start_time DESC"])
    return found[0] if found else None
