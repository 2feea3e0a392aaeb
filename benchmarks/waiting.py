"""Seconds of one training with spinning and with sleeping OpenMP threads, on an idle and on a busy machine.

Both sides are the command line in processes of their own, in turns; `--load` is how many busy processes run beside
them in the busy half. The other sides show what the default would be, and one thread.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SIDES = {
    "spinning": {"GOMP_SPINCOUNT": "30000000000"},  # what GNU's OpenMP does under OMP_WAIT_POLICY=active
    "default": {"GOMP_SPINCOUNT": "300000"},  # and where nothing is set
    "passive": {},  # what the command line sets
    "one thread": {"OMP_NUM_THREADS": "1"},
}
BUSY = "while True: pass"
QUICK = ["--max_test_images=64", "--monitor_images=64", "--milestone_every=1000", "--checkpoint_minutes=60"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--load", type=int, default=os.cpu_count(), help="busy processes in the busy half")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--sides", nargs="+", default=["default", "passive", "one thread"], choices=SIDES)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows = [measure(load, arguments) for load in (0, arguments.load)]
    for row in rows:
        told = ", ".join(f"{side} {row[side]:.1f} s" for side in arguments.sides)
        ratios = ", ".join(
            f"{side} / {arguments.sides[0]} {row[side] / row[arguments.sides[0]]:.2f}" for side in arguments.sides
        )
        print(f"{row['busy']} busy processes, load {row['load']:.1f}: {told}; {ratios}")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


def measure(load: int, arguments: argparse.Namespace) -> dict[str, float]:
    """Median seconds of each side, which take turns, and the load average afterwards."""
    seconds: dict[str, list[float]] = {side: [] for side in arguments.sides}
    with busy(load):
        for _ in range(arguments.turns):
            for side, took in seconds.items():
                took.append(train(SIDES[side], arguments))
    medians = {side: statistics.median(took) for side, took in seconds.items()}
    return {"busy": load, "load": os.getloadavg()[0], **medians}


def train(own: dict[str, str], arguments: argparse.Namespace) -> float:
    """Seconds from the end of the first epoch to that of the second, so that starting does not count."""
    with tempfile.TemporaryDirectory() as folder:
        threads = {"OMP_NUM_THREADS": str(arguments.threads)}
        places = {"SSLMLFLOW_HOME": f"{folder}/home", "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
        command = [sys.executable, "-m", "sslmlflow", "pretrain", *QUICK, "--epochs=2", "--batch_size=64"]
        process = subprocess.Popen(
            [*command, f"--max_train_images={arguments.images}"],
            env={**os.environ, "PYTHONUNBUFFERED": "1", **threads, **places, **own},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdout is not None
        try:
            ended = [time.perf_counter() for line in process.stdout if line.startswith("epoch ")]
        finally:
            process.kill()
            process.wait()
        return ended[1] - ended[0]


@contextmanager
def busy(count: int) -> Iterator[None]:
    processes = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


if __name__ == "__main__":
    main()
