"""The further processes of a search on this machine, and the runs of processes that died."""

import os
import platform
import signal
import subprocess
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import mlflow
import numpy as np
import torch
from mlflow import MlflowClient
from mlflow.entities import LoggedModel
from mlflow.exceptions import MlflowException

from sslmlflow.config.options import NONE, texts_of
from sslmlflow.config.tune import Tune
from sslmlflow.errors import in_short
from sslmlflow.files import private
from sslmlflow.tracking.liveness import end_dead
from sslmlflow.tracking.lock import is_busy
from sslmlflow.tracking.notes import note
from sslmlflow.tracking.run import TrackedRun

JOINS = "SSLMLFLOW_JOINS"  # in the environment of a worker: it never leads
PATIENCE_SECONDS = 60.0


class Workers:
    """`workers - 1` processes that join the study as other machines would, each with its share of the cores.

    They end by themselves when no seat waits, and are interrupted when the block is left by an exception.
    """

    def __init__(self, config: Tune, leading: TrackedRun, study: str, model: LoggedModel) -> None:
        self._files = [leading.folder / f"worker-{number}.txt" for number in range(2, config.workers + 1)]
        texts = {**texts_of(config), "workers": "1", "study": study, "resume": NONE}
        texts |= {"run": str(model.source_run_id), "milestone": model.model_id}
        self._command = [
            sys.executable,
            "-m",
            "sslmlflow",
            "tune",
            *(f"--{name}={text}" for name, text in texts.items()),
        ]
        threads = max(1, (os.cpu_count() or 1) // config.workers)
        if config.workers > 1 and "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(threads)
        self._environment = {
            "OMP_NUM_THREADS": str(threads),
            **{name: value for name, value in os.environ.items() if name != "MLFLOW_RUN_ID"},
            JOINS: "1",
            "MLFLOW_TRACKING_URI": mlflow.get_tracking_uri(),
            "MLFLOW_EXPERIMENT_ID": leading.experiment_id,
        }
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> None:
        try:
            for path in self._files:
                self._start(path)
        except BaseException:
            for process in self._processes:  # no __exit__ follows
                process.send_signal(signal.SIGINT)
            raise

    def _start(self, path: Path) -> None:
        with open(path, "ab", opener=private) as file:
            self._processes.append(
                # In a session of its own: Ctrl-C in the terminal reaches the leader alone, which passes it on once.
                subprocess.Popen(
                    self._command,
                    env=self._environment,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind:
            for process in self._processes:
                process.send_signal(signal.SIGINT)
        for process, path in zip(self._processes, self._files, strict=True):
            try:
                process.wait(PATIENCE_SECONDS if kind else None)
            except subprocess.TimeoutExpired:
                process.kill()
            if (status := process.wait()) and not kind:
                print(f"a worker ended with status {status}; what it said is in {path}")


def close_runs(client: MlflowClient, leading: TrackedRun | None, run_ids: Sequence[str] = ()) -> None:
    """Mark as killed what runs still, of these or of all below the leading one, though no process works on it.

    All below may be closed only when no process of any machine takes a seat any more.
    """
    found = list(run_ids)
    if leading:
        below = f"tags.`mlflow.parentRunId` = '{leading.run_id}' AND status = 'RUNNING'"
        found += [run.info.run_id for run in client.search_runs([leading.experiment_id], below)]
    for run_id in found:
        if is_busy(run_id):
            continue
        try:
            end_dead(client, run_id)
        except MlflowException as error:  # deleted, or of somebody else: no reason to stop the search
            note(f"run {run_id} is dead, and cannot be marked as killed: {in_short(error)}")


def seed_of_process(seed: int, trials: int, leads: bool) -> int:
    """A seed of a sampler: of the leader the same in every repetition, of any other process its own."""
    own = 0 if leads else zlib.crc32(f"{platform.node()} {os.getpid()}".encode())
    return int(np.random.SeedSequence([seed, trials, own]).generate_state(1)[0])
