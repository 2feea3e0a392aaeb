"""What a step takes while the tracking server is there, refuses connections, or takes them and never answers.

A real training, its spool and its sender, a real server. Rounds of the three alternate in one process, and the median
step, the slowest and all together are compared with those of the same round with the server there.
"""

import argparse
import contextlib
import io
import json
import os
import socket
import tempfile
import time
from collections.abc import Callable
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

FIGURES: dict[str, Callable[[list[float]], float]] = {"median step": median, "slowest step": max, "all steps": sum}
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
    ratios: dict[str, dict[str, list[float]]] = {
        place: {figure: [] for figure in FIGURES} for place in ("refuses", "never answers")
    }
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
                for place, of_place in ratios.items():
                    for figure, of in FIGURES.items():
                        of_place[figure].append(of(took[place]) / of(took["there"]))
                print({place: f"{1000 * median(seconds):.1f} ms" for place, seconds in took.items()}, flush=True)
    for place, of_place in ratios.items():
        told = ", ".join(f"{figure} {median(found):.3f}" for figure, found in of_place.items())
        print(f"server {place}, times as long as with the server there (median of {arguments.rounds} rounds): {told}")
    if arguments.json:
        steps = len(took["there"])
        row = {"width": arguments.width, "steps": steps, "rounds": arguments.rounds, "ratios": ratios}
        arguments.json.write_text(json.dumps(row, indent=1) + "\n")


def _step_seconds(training: Training, uri: str, path: Path) -> list[float]:
    """Seconds from a step to the next, each handed to the spool."""
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
    return took[WARM:]


if __name__ == "__main__":
    main()
