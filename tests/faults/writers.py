"""A program that forks many writers to one tracking database, which may not exist yet."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import mlflow

from sslmlflow.tracking.sender import Sender
from sslmlflow.tracking.server import connect
from sslmlflow.tracking.spool import Spool

STEPS = 50


def main(arguments: Sequence[str]) -> int:
    """Start so many writers with their spools in this folder; how many of them failed."""
    count, folder = int(arguments[0]), Path(arguments[1])
    children = [_forked(folder / f"{number}.db") for number in range(count)]
    return sum(os.waitpid(child, 0)[1] != 0 for child in children)


def _forked(path: Path) -> int:
    child = os.fork()
    if child:
        return child
    try:
        _write(path)
    except BaseException as error:
        print(f"failed: {error!r}", file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)


def _write(path: Path) -> None:
    mlflow.set_tracking_uri(os.environ["MLFLOW_TRACKING_URI"])
    client = connect()
    spool = Spool(path)
    sender = Sender(spool.path, client, client.create_run("0", run_name=path.stem).info.run_id)
    for step in range(STEPS):
        spool.add_metrics({"train/loss": 1.0 / (step + 1), "train/lr": 0.1 * step}, step)
    if not sender.close():
        os._exit(1)
