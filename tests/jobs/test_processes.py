"""Several processes that train together: the same as one, whichever of them ends; refusals are printed once."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from sslmlflow.launch import LEFT
from sslmlflow.metrics.catalogue import AGREEMENT, KNN, PROBE, STANDARDISED
from tests.conftest import Command
from tests.jobs.small import SMALL, Left, left_in
from tests.mlflow_server import free_port

pytestmark = pytest.mark.slow
TRAINING = ["pretrain", *SMALL, "--lr=0.001", "--milestone_every=20", "--precision=float32"]
OURS = [sys.executable, "-m", "sslmlflow"]
TORCHRUN = [
    sys.executable,
    "-m",
    "torch.distributed.run",
    "--standalone",
    "--nproc-per-node=2",
    "-m",
    "--",
    "sslmlflow",
]
TOGETHER_GONE = 30  # seconds


class Started:
    """A command that runs in processes of its own; what it says is in a file."""

    def __init__(
        self, folder: Path, environment: dict[str, str], command: list[str], tracking_uri: str | None = None
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.environment = {**environment, "MLFLOW_TRACKING_URI": tracking_uri or f"sqlite:///{folder}/mlflow.db"}
        self.environment["SSLMLFLOW_HOME"] = f"{folder}/home"
        self._said = folder / f"said-{time.monotonic_ns()}"
        with self._said.open("w") as said:
            self._process = subprocess.Popen(command, env=self.environment, stdout=said, stderr=said)

    def said(self) -> str:
        return self._said.read_text()

    def wait(self) -> int:
        return self._process.wait(120)

    def workers(self) -> list[psutil.Process]:
        """The processes that train, once they do, in the order of their numbers."""
        until = time.monotonic() + 120
        while "\nepoch " not in self.said():
            assert time.monotonic() < until, self.said()
            assert self._process.poll() is None, self.said()
            time.sleep(0.05)
        children = psutil.Process(self._process.pid).children()
        return sorted(children, key=lambda child: int(child.environ()["RANK"]))

    def kill(self, number: int, *, worker: int | None) -> list[psutil.Process]:
        """Send a signal to a worker, or to the launcher; the workers."""
        workers = self.workers()
        os.kill(self._process.pid if worker is None else workers[worker].pid, number)
        return workers

    def left(self) -> Left:
        return left_in(self.environment["MLFLOW_TRACKING_URI"])


def test_two_processes_train_as_one_does(sslmlflow: Command, environment: dict[str, str], tmp_path: Path) -> None:
    given = ["main", *TRAINING[1:], "--preset=monitoring-paper", "--epochs=2", "--probe=plain"]
    done = sslmlflow(*given)
    assert done.returncode == 0, done.stderr
    alone = left_in(environment["MLFLOW_TRACKING_URI"])
    both = Started(tmp_path / "both", environment, [*OURS, *given, "--processes=2", "--workers=1"])
    assert both.wait() == 0, both.said()
    assert both.said().count("epoch 2/2") == 1
    together = both.left()
    assert together.run.data.params["resolved/processes"] == "2"
    losses, expected = ([value for _, value in left.history("train/loss")] for left in (together, alone))
    assert losses == pytest.approx(expected, rel=1e-4)
    for key in ("label_free/crr", "label_free/rankme"):
        assert dict(together.history(key)) == pytest.approx(dict(alone.history(key)), rel=1e-3)
    assert [model.params["epoch"] for model in together.milestones] == ["0", "2"]
    measured, expected = together.measured(), alone.measured()
    assert {key[:2] for key in measured} == {key[:2] for key in expected}
    at_start = {key for key in expected if key[0] == 0}  # of one encoder, to the bit
    assert at_start == {key for key in measured if key[0] == 0}
    assert {KNN, STANDARDISED, AGREEMENT} <= {name for _, name, _ in at_start}


def test_milestones_are_evaluated_in_two_processes_as_in_one(
    sslmlflow: Command, environment: dict[str, str], tmp_path: Path
) -> None:
    # More images than a process embeds at once.
    assert sslmlflow(*TRAINING, "--epochs=1", "--max_train_images=320").returncode == 0
    uri = environment["MLFLOW_TRACKING_URI"]
    source = left_in(uri).run.info.run_id
    experiment = {"MLFLOW_EXPERIMENT_NAME": "evaluations"}
    found = []
    for command in (OURS, TORCHRUN):
        given = [*command, "evaluate", f"--run={source}", "--probe=plain"]
        started = Started(tmp_path / "said", environment | experiment, given, uri)
        assert started.wait() == 0, started.said()
        assert started.said().count("epoch    1: ") == 1
        evaluation = left_in(uri, "1").run.info.run_id
        found.append(left_in(uri).measured(evaluation))
        left_in(uri).client.delete_run(evaluation)  # or its values would stand
    assert found[0] == found[1]
    refused = sslmlflow("evaluate", "--follow", "--processes=2")
    assert refused.returncode == 2
    assert refused.stderr.count("invalid value for follow: true (must be false in several processes)") == 1
    assert {(0, KNN), (1, PROBE), (1, AGREEMENT)} <= {(epoch, name) for epoch, name, _ in found[1]}


def test_a_milestone_is_tuned_in_two_processes_as_in_one(
    sslmlflow: Command, environment: dict[str, str], tmp_path: Path
) -> None:
    assert sslmlflow(*TRAINING, "--epochs=2", "--processes=auto").returncode == 0
    uri = environment["MLFLOW_TRACKING_URI"]
    source, histories = left_in(uri).run.info.run_id, []
    for number, count in enumerate((1, 2), start=1):
        given = [
            "umm",
            f"--run={source}",
            "--epochs=1",
            "--js_images=16",
            "--precision=float32",
            f"--processes={count}",
        ]
        experiment = {"MLFLOW_EXPERIMENT_NAME": str(count)}
        done = sslmlflow(*given, **experiment)
        assert done.returncode == 0, done.stderr
        left = left_in(uri, str(number))
        assert left.run.data.params["resolved/processes"] == str(count)
        histories.append({key: dict(left.history(key)) for key in ("train/loss", "train/crr_pull", "label_free/crr")})
    assert histories[1] == {key: pytest.approx(values, rel=1e-3) for key, values in histories[0].items()}
    wrong = sslmlflow("umm", f"--run={source}", "--milestone=7", "--processes=2")
    assert wrong.returncode == 1
    assert wrong.stderr.count("no milestone of epoch 7") == 1


def test_whatever_ends_one_process_ends_all_and_the_run_is_resumed_to_the_same_bits(
    environment: dict[str, str], tmp_path: Path
) -> None:
    # Epochs of 20 steps: what was saved at a stop is within one.
    given = [*TRAINING, "--max_train_images=640", "--epochs=6", "--resume=auto"]
    calm = Started(tmp_path / "calm", environment, [*TORCHRUN, *given])
    assert calm.wait() == 0, calm.said()

    def stormy() -> Started:
        return Started(tmp_path / "stormy", environment, [*OURS, *given, "--processes=2"])

    saved: int | None = None
    for number, worker, code in ((signal.SIGTERM, None, 143), (signal.SIGKILL, 1, 137), (signal.SIGKILL, None, -9)):
        started = stormy()
        workers = started.kill(number, worker=worker)
        assert started.wait() == code, started.said()
        _, alive = psutil.wait_procs(workers, TOGETHER_GONE)
        assert alive == [], started.said()
        assert "Traceback" not in started.said()
        assert started.said().count("stopped; the same command with --resume=auto") <= 1
        assert started.said().count("SIGTERM: stopping") <= 1
        assert "torch/distributed" not in started.said()
        if number == signal.SIGTERM:
            saved = max(step for step, _ in started.left().history("train/loss"))
        else:
            assert saved is None or f"after step {saved} of" in started.said()
            saved = None
    started = stormy()
    assert started.wait() == 0, started.said()
    assert started.left().run.info.status == "FINISHED"
    assert started.left().files() == calm.left().files()
    assert started.left().points() == calm.left().points()


def test_torchrun_starts_it_again_in_the_same_run(environment: dict[str, str], tmp_path: Path) -> None:
    # As in a cluster, where nobody types --resume=auto.
    command = [*TORCHRUN[:4], "--max-restarts=1", *TORCHRUN[4:], *TRAINING, "--epochs=40"]
    started = Started(tmp_path / "again", {**environment, "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}, command)
    started.kill(signal.SIGKILL, worker=0)
    assert started.wait() == 0, started.said()
    assert started.said().count("going on with run") == 1
    assert started.left().run.info.status == "FINISHED"
    assert [step for step, _ in started.left().history("train/loss")] == list(range(1, 121))


def test_another_number_of_processes_is_said_and_a_refusal_is_printed_once(
    environment: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "here"
    given = [*OURS, *TRAINING, "--epochs=40", "--resume=auto"]
    started = Started(folder, environment, [*given, "--processes=2"])
    started.kill(signal.SIGTERM, worker=0)
    assert started.wait() == 143, started.said()
    alone = Started(folder, environment, given)
    assert alone.wait() == 0, alone.said()
    assert "note: processes 2 -> 1; the result may differ in the last bits" in alone.said()
    for more, code, why in (
        (["--processes=3"], 2, "invalid value for processes: 3 (must divide the batch size, 32)"),
        (["--processes=2", "--lr=1e30"], 1, "the loss became"),
    ):
        refused = Started(tmp_path / "refused", environment, [*OURS, *TRAINING, "--epochs=2", *more])
        assert refused.wait() == code, refused.said()
        assert refused.said().count(why) == 1
        assert "Traceback" not in refused.said()


def test_processes_that_were_given_different_parameters_are_refused(
    environment: dict[str, str], tmp_path: Path
) -> None:
    port = str(free_port())
    given = [*OURS, *TRAINING, "--epochs=2"]
    meeting = {**environment, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    both = [
        Started(
            tmp_path / str(rank), {**meeting, "RANK": str(rank), "LOCAL_RANK": str(rank)}, [*given, f"--seed={rank}"]
        )
        for rank in range(2)
    ]
    assert [one.wait() for one in both] == [LEFT, 1]  # the launcher ends with the code of the one that reports
    assert "process 1: seed is 1 here and 0 in process 0" in both[1].said()
