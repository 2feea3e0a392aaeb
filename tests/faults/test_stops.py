"""Ctrl-C, SIGTERM and a terminal that closes, in every phase of a training, with and without `mlflow run` above it."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from mlflow import MlflowClient

from tests.conftest import ROOT
from tests.faults.chain import TINY, Calm, Chain, NewChain, losses
from tests.faults.conftest import Told
from tests.faults.size import LONG, times

ROUNDS = times(1, 10)
TRAINING = [*TINY, "--epochs=40", "--milestone_every=4", "--checkpoint_minutes=0.001"]
PHASES: dict[str, dict[str, Any]] = {
    "start": {"event": "open", "path": "/runs/"},
    "step": {"event": "os.rename", "path": "/checkpoints/step-", "delay": 0.03},
    "checkpoint": {"event": "os.rename", "path": "/checkpoints/step-"},
    "milestone": {"event": "os.mkdir", "path": "/milestones/epoch-"},
    "end": {"event": "open", "path": "/trained"},
}
IMPORT = {"event": "open", "path": "/sslmlflow/jobs/"}
# A terminal tells all that run in it; `kill` one.
SIGNALS = {signal.SIGINT: "group", signal.SIGTERM: "leader", signal.SIGHUP: "group"}
Stop = Callable[[Chain, dict[str, Any]], None]


@pytest.mark.slow
@pytest.mark.parametrize("number", SIGNALS)
def test_stopped_training(new_chain: NewChain, calm: Calm, number: signal.Signals, tell: Told) -> None:
    def stop(chain: Chain, trap: dict[str, Any]) -> None:
        assert chain.run(trap=trap) == 128 + number, chain.said()

    _stop_everywhere(new_chain, calm, number, stop, "KILLED", tell, "alone", PHASES)


@pytest.mark.slow
@pytest.mark.parametrize("number", SIGNALS)
def test_stopped_under_mlflow_run(
    new_chain: NewChain, calm: Calm, number: signal.Signals, tmp_path: Path, tell: Told
) -> None:
    """The way on is the same `mlflow run` with --run-id.

    Where it outlives the training, MLflow writes FAILED over KILLED (it looks a name up among numbers).
    """
    command = tmp_path / "bin" / "python"  # MLproject says `python -m sslmlflow pretrain …`
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nshift 2\nPYTHONPATH={ROOT} exec {sys.executable} -m tests.faults.trapped "$@"\n')
    command.chmod(0o755)
    parameters = [word for argument in TRAINING[1:] for word in ("-P", argument.removeprefix("--"))]

    def stop(chain: Chain, trap: dict[str, Any]) -> None:
        path = f"{command.parent}:{chain.environment['PATH']}"
        runs = MlflowClient(chain.environment["MLFLOW_TRACKING_URI"]).search_runs(["0"]) if chain.starts else []
        chain.starts += 1
        own = ["--run-id", runs[0].info.run_id] if runs else []
        with open(chain.log, "a") as log:
            process = subprocess.Popen(
                ["mlflow", "run", str(ROOT), "--env-manager=local", "-e", "pretrain", *own, *parameters],
                env={**chain.environment, "PATH": path, "TRAP": json.dumps(trap)},
                cwd=chain.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=hear_ctrl_c,
            )
            assert process.wait(120) != 0, chain.said()
        patience = time.monotonic() + 60
        while any(_session(child) == process.pid for child in psutil.process_iter()):
            assert time.monotonic() < patience, "an orphan works on"
            time.sleep(0.1)

    status = "FAILED" if number == signal.SIGINT else "KILLED"
    # A training that ends before it is seen that its parent is gone has ended well.
    left_out = "start" if SIGNALS[number] == "group" else "end"
    phases = {"import": IMPORT} | {phase: where for phase, where in PHASES.items() if phase != left_out}
    if not LONG:  # each takes MLflow and the training ten seconds to import
        if number == signal.SIGHUP:
            pytest.skip("reported by `make long`")
        phases = {phase: phases[phase] for phase in ("import", "step")[number != signal.SIGTERM :]}
    _stop_everywhere(new_chain, calm, number, stop, status, tell, "under mlflow run", phases)


def _stop_everywhere(
    new_chain: NewChain,
    calm: Calm,
    number: signal.Signals,
    stop: Stop,
    status: str,
    tell: Told,
    how: str,
    phases: dict[str, dict[str, Any]],
) -> None:
    expected = calm(*TRAINING)
    moments = random.Random(number)
    stops, lost = 0, Counter[str]()
    for _ in range(ROUNDS):
        chain = new_chain(*TRAINING, "--workers=1")
        for phase, where in phases.items():
            count = 1 if phase in ("import", "start", "end") else moments.randint(1, 3)
            trap = {**where, "count": count, "number": number, "to": SIGNALS[number]}
            before = chain.log.stat().st_size
            stop(chain, trap)
            told = chain.log.read_text()[before:]
            stops += 1
            assert "sslmlflow: stopped" in told or number == signal.SIGHUP, f"{phase}: {told}"
            assert chain.left().run.info.status == status, f"{phase}: {told}"
        assert chain.run() == 0, chain.said()
        lost.update(losses(chain.left(), expected))
    told = ", ".join(f"{count} {what}" for what, count in lost.items())
    tell(f"T10 {number.name} {how}: {stops} stops, {ROUNDS} trainings: all {status}, no orphan, {told}")
    assert not any(lost.values()), told


def hear_ctrl_c() -> None:
    """A test that runs in the background of a script is started with Ctrl-C ignored, and so is what it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _session(process: psutil.Process) -> int | None:
    try:
        return os.getsid(process.pid)
    except ProcessLookupError:
        return None
