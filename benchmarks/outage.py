"""What a step takes while the tracking server is there, refuses connections, or takes them and never answers.

One real training with its spools and senders, and a real server. Every few steps the next of the three is tried, so
that what else the machine does falls on all of them; each round compares the steps of one with those of the server
there. A sender that has just begun tries most often: an outage that lasts costs less. No sender of before lives on
beside the next one; that they end soon, requests wait for five seconds only.
"""

import argparse
import contextlib
import io
import json
import os
import random
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from statistics import median, quantiles

from mlflow import MlflowClient
from tqdm import tqdm

from benchmarks.loop import new_state
from sslmlflow.config.pretrain import Pretrain
from sslmlflow.runs.pretraining import prepare
from sslmlflow.runs.retention import after_sending
from sslmlflow.runs.training import Training
from sslmlflow.tracking.sender import Sender
from sslmlflow.tracking.server import connect
from sslmlflow.tracking.spool import Spool
from sslmlflow.training.loop import Step, train
from tests.mlflow_server import free_port, running_server

BLOCK = 8  # steps, of which the first, in which the sender connects, is left out
THERE = "there"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    training = prepare(Pretrain(width=arguments.width, epochs=10**4, milestone_every=10**6))
    os.environ |= {"MLFLOW_HTTP_REQUEST_TIMEOUT": "5", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    connect()
    port = free_port()
    with tempfile.TemporaryDirectory() as folder, socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(128)
        with running_server(Path(folder), os.environ, port) as server:
            places = {
                THERE: server,
                "refuses": f"http://127.0.0.1:{free_port()}",
                "never answers": f"http://127.0.0.1:{silent.getsockname()[1]}",
            }
            took = _measure(training, places, Path(folder), arguments.rounds)
    medians = {place: [median(block) for block in blocks] for place, blocks in took.items()}
    ratios = {
        place: [one / there for one, there in zip(found, medians[THERE], strict=True)]
        for place, found in medians.items()
        if place != THERE
    }
    longest = {place: max(map(max, blocks)) for place, blocks in took.items()}
    for place, found in ratios.items():
        low, middle, high = quantiles(found, n=4)
        slowest = longest[place] / longest[THERE]
        print(
            f"server {place}: median step {middle:.3f} times that with the server there (quarters of {len(found)} "
            f"rounds: {low:.3f} to {high:.3f}), slowest step of all {slowest:.2f} times"
        )
    if arguments.json:
        row = {
            "width": arguments.width,
            "steps": BLOCK - 1,
            "rounds": arguments.rounds,
            "ratios": ratios,
            "slowest_s": longest,
        }
        arguments.json.write_text(json.dumps(row, indent=1) + "\n")


def _measure(training: Training, places: dict[str, str], folder: Path, rounds: int) -> dict[str, list[list[float]]]:
    """Seconds from a step to the next, each handed to the spool, by place and round."""
    steps = (
        event
        for event in train(new_state(training), training.sets.train, training.plan, training.machine)
        if isinstance(event, Step)
    )
    took: dict[str, list[list[float]]] = {place: [] for place in places}
    spools = {place: Spool(folder / f"{place}.db") for place in places}
    runs = dict.fromkeys(places, "0" * 32) | {THERE: MlflowClient(places[THERE]).create_run("0").info.run_id}
    for number in tqdm(range(rounds + 1), unit="round", disable=None):
        for place in sorted(places, key=lambda _: random.random()):
            with contextlib.redirect_stderr(io.StringIO()):  # the sender says what it does not reach
                client = MlflowClient(places[place])
                sender = Sender(spools[place].path, client, runs[place], after_sending(client, runs[place]))
                block = list(islice(_timed(steps, spools[place]), BLOCK))
                sender.close(patience_seconds=0.1)
                _wait_for_the_end_of_senders()
            if number > 0:  # the first steps of a process are slow
                took[place].append(block[1:])
    return took


def _wait_for_the_end_of_senders() -> None:
    for thread in threading.enumerate():
        if thread.name == "sslmlflow-sender":
            thread.join()


def _timed(steps: Iterator[Step], spool: Spool) -> Iterator[float]:
    before = time.perf_counter()
    for step in steps:
        spool.add_metrics({"train/loss": step.losses["loss"], "train/lr": step.lr}, step.step)
        yield time.perf_counter() - before
        before = time.perf_counter()


if __name__ == "__main__":
    main()
