"""One training, stopped again and again, and gone on with by the same command until it ends."""

import os
import signal
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mlflow.entities import LoggedModelStatus

from tests.fork_server import ForkServer
from tests.jobs.small import SMALL, Left, left_in

TINY = ["pretrain", *SMALL]


@dataclass
class Chain:
    """The command, and the folder in which its SSLMLFLOW_HOME and database lie unless the environment names others."""

    server: ForkServer
    environment: dict[str, str]
    folder: Path
    arguments: list[str]
    log: Path
    starts: int = 0

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        self.log.touch()
        own = {"SSLMLFLOW_HOME": f"{self.folder}/home", "MLFLOW_TRACKING_URI": f"sqlite:///{self.folder}/mlflow.db"}
        self.environment = {**own, **self.environment}

    def run(self, **more: Any) -> int:
        """Run to the end, or into a `trap` or `file_limit`; the exit status, negative where a signal killed it."""
        self.begin(**more)
        return self.wait()

    def kill(self, after: float, once_it_trains: bool) -> int:
        """SIGKILL so many seconds after the start, or after its first epoch; the exit status."""
        child = self.begin()
        if once_it_trains:
            self.wait_until_it_trains(child)
        time.sleep(after)
        if _lives(child):
            os.kill(child, signal.SIGKILL)
        return self.wait()

    def begin(self, **more: Any) -> int:
        """Start; its process id. `wait` is to follow."""
        self.starts += 1
        self._told = self.log.stat().st_size
        files = {"folder": str(self.folder), "stdout": str(self.log), "stderr": str(self.log)}
        given = {"arguments": self.arguments, "environment": self.environment, **files, **more}
        return self.server.start(**given)

    def wait(self) -> int:
        """The exit status of what was begun."""
        return os.waitstatus_to_exitcode(self.server.wait())

    def wait_until_it_trains(self, child: int) -> None:
        """Until what was begun has trained an epoch, or ended."""
        patience = time.monotonic() + 120
        while "\nepoch" not in self.log.read_text()[self._told :] and _lives(child):
            assert time.monotonic() < patience, self.said()
            time.sleep(0.01)

    def said(self) -> str:
        """The end of all that it said."""
        return self.log.read_text()[-4000:]

    def left(self) -> Left:
        """Its one run and its milestones, as MLflow holds them."""
        return left_in(self.environment["MLFLOW_TRACKING_URI"])


def _lives(child: int) -> bool:
    return Path(f"/proc/{child}").exists()


class NewChain(Protocol):
    """Makes chains of one command, each in a folder of its own."""

    def __call__(self, *more: str, folder: Path | None = None, **environment: str) -> Chain: ...


class Calm(Protocol):
    """Gives what a training leaves that nobody disturbs."""

    def __call__(self, *arguments: str) -> Left: ...


def losses(stormy: Left, calm: Left) -> dict[str, int]:
    """What differs between a training that was stopped and one that was not, by kind; 0 everywhere if nothing was lost.

    Both end at the same step. Bits of the weights and of every loss and metric are compared.
    """
    points, expected = stormy.points(), calm.points()
    measured, expected_measured = stormy.measured(), calm.measured()
    epochs, expected_epochs = (Counter(int(m.params["epoch"]) for m in left.milestones) for left in (stormy, calm))
    files, expected_files = stormy.files(), calm.files()
    outputs = stormy.run.outputs.model_outputs if stormy.run.outputs else []
    whole = [m for m in stormy.milestones if m.status == LoggedModelStatus.READY]
    return {
        "milestones lost": (expected_epochs - epochs).total(),
        "milestones too many": (epochs - expected_epochs).total(),
        "milestones not whole": len(stormy.milestones) - len(whole),
        "milestones the run does not name": len({m.model_id for m in whole} - {output.model_id for output in outputs}),
        "weights that differ": sum(files.get(key) != expected_files.get(key) for key in {*files, *expected_files}),
        "points lost": (expected - points).total(),
        "points too many": (points - expected).total(),
        "milestones' points lost": (expected_measured - measured).total(),
        "milestones' points too many": (measured - expected_measured).total(),
        "runs not finished": int(stormy.run.info.status != "FINISHED"),
    }
