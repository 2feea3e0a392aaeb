"""What a step takes while the tracking server is there, refuses connections, or takes them and never answers.

A real training, its spool and its sender, a real server. Rounds of the three alternate in one process, and medians of
steps are compared with those of the same round with the server there.
"""

import argparse
import contextlib
import io
import json
import os
import socket
import tempfile
import time
from pathlib import Path
from statistics import median

from mlflow import MlflowClient

from benchmarks.loop import new_state
from sslmlflow.config.pretrain import Pretrain
from sslmlflow.jobs.pretrain import prepare
from sslmlflow.jobs.training import Training
from sslmlflow.tracking.sender import Sender
from sslmlflow.tracking.server import connect
from sslmlflow.tracking.spool import Spool
from sslmlflow.training.loop import Step, train
from tests.mlflow_server import free_port, running_server

WARM = 10  # steps left out at the beginning of each round


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=4, help="of each of the three in each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    training = prepare(Pretrain(width=arguments.width, epochs=arguments.epochs, milestone_every=10**6))
    connect()  # sets the patience of MLflow's client as a training does
    port = free_port()
    ratios: dict[str, list[float]] = {"refuses": [], "never answers": []}
    with tempfile.TemporaryDirectory() as folder, socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(128)
        with running_server(Path(folder), os.environ, port) as server:
            places = {
                "there": server,
                "refuses": f"http://127.0.0.1:{free_port()}",
                "never answers": f"http://127.0.0.1:{silent.getsockname()[1]}",
            }
            for number in range(arguments.rounds):
                took = {
                    name: _step_seconds(training, uri, Path(folder) / f"{number} {name}.db")
                    for name, uri in places.items()
                }
                for name, found in ratios.items():
                    found.append(took[name] / took["there"])
                print({name: f"{1000 * seconds:.1f} ms" for name, seconds in took.items()}, flush=True)
    row = {name: {"median_ratio": median(found), "ratios": found} for name, found in ratios.items()}
    for name, found in row.items():
        print(f"server {name}: a step takes {found['median_ratio']:.3f} times as long as with the server there")
    if arguments.json:
        arguments.json.write_text(json.dumps(row, indent=1) + "\n")


def _step_seconds(training: Training, uri: str, path: Path) -> float:
    """Median seconds from a step to the next, each handed to the spool."""
    client = MlflowClient(uri)
    run_id = client.create_run("0").info.run_id if path.stem.endswith("there") else "0" * 32
    spool = Spool(path)
    took, before = [], time.perf_counter()
    with contextlib.redirect_stderr(io.StringIO()):  # the sender says what it does not reach
        sender = Sender(spool.path, client, run_id)
        for event in train(new_state(training), training.sets.train, training.plan, training.machine):
            if isinstance(event, Step):
                spool.add_metrics({"train/loss": event.losses["loss"], "train/lr": event.lr}, event.step)
                took.append(time.perf_counter() - before)
                before = time.perf_counter()
        sender.close(patience_seconds=0.1)
    return median(took[WARM:])


if __name__ == "__main__":
    main()
