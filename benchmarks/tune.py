"""What a search costs beside its trials, and how much sooner two workers end it than one.

Overhead: a study of many tiny trials runs as its user would run it. Counted is the time from the start of one trial to
that of the next, less the median of the same work done bare, without study, MLflow or files, before and after it.
Workers: the same study of 16 equal trials by one worker and by two, one thread each; the ratio of the whole commands.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import mlflow
import torch

from sslmlflow.config.umm import Umm
from sslmlflow.metrics.catalogue import CRR_ADJUSTED
from sslmlflow.runs.start import starting_milestone
from sslmlflow.runs.training import Training
from sslmlflow.runs.umm import prepare
from sslmlflow.search.limit_metrics import limits_over_halves, objective_with_noise
from sslmlflow.search.study import Seats
from sslmlflow.tracking.server import connect
from sslmlflow.training.loop import MilestoneDue, train

TINY = ("--width=4", "--max_train_images=96", "--max_test_images=60", "--batch_size=32", "--monitor_images=40")
TUNING = ("--js_images=4", "--directions=2")
SEARCH = (
    "tune",
    *TUNING,
    "--prune=false",
    "--labels=none",
    "--study=study",
    "--precision=float32",
    "--untuned_seeds=1",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200, help="of the study whose overhead is taken")
    parser.add_argument("--turns", type=int, default=3, help="studies by one and by two workers")
    parser.add_argument("--epochs", type=int, default=20, help="of each trial of those")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = {}
    if arguments.trials:
        found["overhead"] = overhead(arguments.trials)
    if arguments.turns:
        found["workers"] = workers(arguments.turns, arguments.epochs)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


def overhead(trials: int) -> dict[str, float]:
    """Seconds a trial beyond its work: the median of all, of the first and of the last 20."""
    with tempfile.TemporaryDirectory() as folder:
        environment = _trained(Path(folder))
        os.environ.update(environment)
        mlflow.set_tracking_uri(environment["MLFLOW_TRACKING_URI"])
        client = connect()
        model = starting_milestone(client, None, "last")
        training = prepare(client, Umm(epochs=1, js_images=4, directions=2, precision="float32"), model)
        bare = [_bare(training) for _ in range(10)]
        _sslmlflow(environment, *SEARCH, "--epochs=1", f"--trials={trials}")
        bare += [_bare(training) for _ in range(10)]
        study = Seats(f"sqlite:///{environment['SSLMLFLOW_HOME']}/studies.db", "study", False, 15).study
        started = [trial.datetime_start.timestamp() for trial in study.trials if trial.datetime_start]
    work = statistics.median(bare[1:])
    beyond = [later - earlier - work for earlier, later in itertools.pairwise(started)]
    found = {
        "trials": trials,
        "work": work,
        "all": statistics.median(beyond),
        "first": statistics.median(beyond[:20]),
        "last": statistics.median(beyond[-20:]),
    }
    print(f"a trial's work takes {work:.2f} s; beyond it, of {trials} trials, {found['all']:.2f} s (median)", end="; ")
    print(f"of the first 20 {found['first']:.2f} s, of the last 20 {found['last']:.2f} s", flush=True)
    return found


def _bare(training: Training) -> float:
    """Seconds of a trial's work: its steps, the metrics of its milestones, and what tells whether it is sound."""
    began = time.perf_counter()
    state = training.start()
    for event in train(state, training.sets.train, training.plan, training.machine, training.take_step):
        if isinstance(event, MilestoneDue):
            scores, _ = training.monitor.measure(state.method.encoder, state.method)
    limits_over_halves(state.method, training.monitor, scores.values)
    objective_with_noise(state.method, training.monitor, CRR_ADJUSTED)
    return time.perf_counter() - began


def workers(turns: int, epochs: int) -> dict[str, Sequence[float]]:
    """Seconds of 16 trials by one worker and by two, in turn."""
    took: dict[str, list[float]] = {"1": [], "2": []}
    for _ in range(turns):
        for count, seconds in took.items():
            with tempfile.TemporaryDirectory() as folder:
                environment = _trained(Path(folder))
                began = time.perf_counter()
                _sslmlflow(environment, *SEARCH, f"--epochs={epochs}", "--trials=16", f"--workers={count}")
                seconds.append(time.perf_counter() - began)
        one, two = took["1"][-1], took["2"][-1]
        print(f"16 trials: one worker {one:.0f} s, two {two:.0f} s, ratio {two / one:.2f}", flush=True)
    ratios = [two / one for one, two in zip(took["1"], took["2"], strict=True)]
    print(f"median ratio of {turns}: {statistics.median(ratios):.2f}")
    return dict(took)


def _trained(folder: Path) -> dict[str, str]:
    """The environment in which a tiny encoder was trained."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "SSLMLFLOW_"))}
    uri, home = f"sqlite:///{folder}/mlflow.db", str(folder / "home")
    environment = {**clean, "MLFLOW_TRACKING_URI": uri, "SSLMLFLOW_HOME": home, "OMP_NUM_THREADS": "1"}
    _sslmlflow(environment, "pretrain", *TINY, "--epochs=2", "--precision=float32")
    return environment


def _sslmlflow(environment: dict[str, str], *arguments: str) -> None:
    command = [sys.executable, "-m", "sslmlflow", *arguments]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
