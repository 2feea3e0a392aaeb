"""The results in docs/results/monitoring: three methods, 40 epochs each, on 10,000 images of a folder.

Run `python -m benchmarks.monitoring --data_dir=FOLDER`; started again, it goes on where it was. What is done is kept
in MLflow (set MLFLOW_TRACKING_URI and SSLMLFLOW_HOME to keep it apart from other work), and as JSON by method.
"""

import argparse
import json
import platform
import subprocess
import sys
from pathlib import Path

import mlflow
import torch
from mlflow.entities import Run

from sslmlflow.jobs.course import course_of
from sslmlflow.tracking.run import connect, current_experiment

METHODS = ("simclr", "simsiam", "moco-v2")
TRAINING = ("--preset=monitoring-paper", "--max_train_images=10000", "--max_test_images=2000", "--width=16")
TRAINING += ("--epochs=40", "--milestone_every=4")
EVALUATION = ("--max_train_images=5000", "--probe=plain")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", required=True, help="folder with train/ and test/")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--results", type=Path, default=Path("docs/results/monitoring"))
    arguments = parser.parse_args()
    arguments.results.mkdir(parents=True, exist_ok=True)
    runs = []
    for method in arguments.methods:
        training = (f"--method={method}", "--dataset=folder", f"--data_dir={arguments.data_dir}", *TRAINING)
        run = _finished(method)
        if run is None:
            _sslmlflow("pretrain", *training, "--resume=auto")
            run = _finished(method)
            assert run is not None
        _sslmlflow("evaluate", f"--run={run.info.run_id}", *EVALUATION)
        runs.append(run.info.run_id)
        course = course_of(connect(), run.info.run_id)
        cell = {
            "method": method,
            "training": TRAINING,
            "evaluation": EVALUATION,
            "seed": 0,
            "versions": {"python": platform.python_version(), "torch": torch.__version__, "mlflow": mlflow.__version__},
            "values": {key: course.column(key) for key in ("epoch", *sorted(course.values)) if key in course.values},
        }
        (arguments.results / f"{method}.json").write_text(json.dumps(cell, indent=1) + "\n")
    _sslmlflow("report", f"--runs={','.join(runs)}", "--register=false")


def _finished(method: str) -> Run | None:
    client = connect()
    given = dict(argument.removeprefix("--").split("=") for argument in (f"--method={method}", "--seed=0", *TRAINING))
    found = client.search_runs(
        [current_experiment(client)],
        " AND ".join(["status = 'FINISHED'", *(f"params.{name} = '{value}'" for name, value in given.items())]),
    )
    return found[0] if found else None


def _sslmlflow(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "sslmlflow", *arguments], check=True)


if __name__ == "__main__":
    main()
