"""Seconds and peak memory of `report` on a store of many runs, which is inserted by SQL.

Each milestone has every metric that `main` measures, a third of them from an evaluation run of its own, and tags and
parameters as a training logs them. Values are random, so that every table, correlation and interval is computed.
"""

import argparse
import json
import os
import random
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from sslmlflow.metrics.catalogue import ACCURACIES, LABEL_FREE
from sslmlflow.tracking.database import make_database

DIGEST = "a7f9f1b5e1f4d0c2"
SECONDS = ("embed_views", "label_free", "crr")
EVALUATED_SECONDS = ("umap", "clusters", "embed_train", "embed_held_out", "linear_probe", "knn")
READY = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--milestones", type=int, default=10, help="of each run")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        address = make_store(Path(folder), arguments.runs, arguments.milestones)
        environment = {**os.environ, "MLFLOW_TRACKING_URI": address, "SSLMLFLOW_HOME": f"{folder}/home"}
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "sslmlflow", "report"], cwd=folder, env=environment, check=True)
        row = {
            "runs": arguments.runs,
            "milestones": arguments.runs * arguments.milestones,
            "seconds": time.perf_counter() - started,
            "peak_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3,
            "load": os.getloadavg()[0],
        }
    print(", ".join(f"{name} {value:.1f}" for name, value in row.items()))
    if arguments.json:
        arguments.json.write_text(json.dumps(row, indent=2) + "\n")


def make_store(folder: Path, runs: int, milestones: int) -> str:
    """Write a tracking database of so many finished, evaluated runs with so many milestones each; its address."""
    path = folder / "mlflow.db"
    make_database(f"sqlite:///{path}")
    draw = random.Random(0)
    with closing(sqlite3.connect(path)) as database, database:
        for number in range(runs):
            training, evaluation = f"{number:032x}", f"{number + (1 << 64):032x}"
            _insert_run(database, folder, training, f"simclr {number}", "pretrain", number)
            _insert_run(database, folder, evaluation, f"evaluate {number}", "evaluate", number + runs)
            for epoch in range(milestones):
                _insert_milestone(database, folder, training, evaluation, epoch, milestones, draw)
    return f"sqlite:///{path}"


def _insert_run(database: sqlite3.Connection, folder: Path, run: str, name: str, entry_point: str, start: int) -> None:
    artifacts = f"{folder}/mlruns/0/{run}/artifacts"
    values = (run, name, "LOCAL", "sslmlflow", "", "user", "FINISHED", start, start + 1, "", "active", artifacts, 0)
    database.execute(f"INSERT INTO runs VALUES ({','.join('?' * 13)}, NULL)", values)
    tags = {"sslmlflow.entry_point": entry_point, "mlflow.runName": name, "sslmlflow.host": "host"}
    database.executemany("INSERT INTO tags VALUES (?, ?, ?)", [(key, value, run) for key, value in tags.items()])
    params = {"dataset": "digit-scenes", "probe": "plain", "resolved/image_size": "32", "resolved/data_dir": "auto"}
    params |= {f"option_{i}": str(i) for i in range(40)}
    database.executemany("INSERT INTO params VALUES (?, ?, ?)", [(key, value, run) for key, value in params.items()])


def _insert_milestone(
    database: sqlite3.Connection,
    folder: Path,
    training: str,
    evaluation: str,
    epoch: int,
    milestones: int,
    draw: random.Random,
) -> None:
    model = f"m-{training[-16:]}{epoch:016x}"
    artifacts, time_ms = f"{folder}/mlruns/0/models/{model}/artifacts", int(training, 16) * 1000 + epoch
    values = (model, 0, f"epoch-{epoch:04d}", artifacts, time_ms, time_ms, READY, "active", "ssl-encoder", training, "")
    database.execute(f"INSERT INTO logged_models VALUES ({','.join('?' * 11)})", values)
    database.execute("INSERT INTO logged_model_params VALUES (?, 0, 'epoch', ?)", (model, str(epoch)))
    tags = {"kind": "milestone", "sslmlflow.key": f"{training}:{epoch}", "sslmlflow.monitor": DIGEST}
    database.executemany(
        "INSERT INTO logged_model_tags VALUES (?, 0, ?, ?)", [(model, key, value) for key, value in tags.items()]
    )
    rows = []
    for key, run, digest in _metrics(training, evaluation):
        dataset = ("digit-scenes", digest) if digest else (None, None)
        rows.append((model, key, time_ms, epoch, draw.random() / 2 + epoch / (2 * milestones), 0, run, None, *dataset))
    database.executemany(f"INSERT INTO logged_model_metrics VALUES ({','.join('?' * 10)})", rows)


def _metrics(training: str, evaluation: str) -> Iterator[tuple[str, str, str | None]]:
    """Key, measuring run and digest of the images of each metric of a milestone."""
    early = [key.replace("label_free/", "early/") for key in LABEL_FREE]
    bounds = [f"label_free/crr_adjusted_{name}" for name in ("low", "high", "resolution")]
    for key in [*LABEL_FREE, *early, *bounds, *(f"time/{name}_s" for name in SECONDS)]:
        yield key, training, None
    for key in [*ACCURACIES, *(f"time/{name}_s" for name in EVALUATED_SECONDS)]:
        yield key, evaluation, DIGEST


if __name__ == "__main__":
    main()
