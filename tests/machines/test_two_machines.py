"""Two machines, each a network namespace, train one run; their connection is cut. Needs root, Linux and iproute2."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Command
from tests.faults.size import LONG
from tests.jobs.small import SMALL, Left, left_in

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not LONG, reason="tested by `make long`"),
    pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0 or not shutil.which("ip"), reason="no namespaces here"),
]
TRAINING = ["pretrain", *SMALL, "--lr=0.001", "--milestone_every=1000", "--precision=float32"]
ADDRESSES = "10.77.0.1", "10.77.0.2"
IMPATIENT = str(Path(__file__).with_name("impatient.py"))


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


class Machines:
    """Two machines with a cable between them, and the torchrun of each; what process 0 says is that of the first."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.names = [f"sslmlflow-{os.getpid()}-{number}" for number in range(2)]
        self.cards = [f"ssl{os.getpid() % 10**7}{letter}" for letter in "ab"]
        self._folder, self._environment = folder, environment
        self._started: list[subprocess.Popen[bytes]] = []
        for name in self.names:
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        ip(
            "link",
            "add",
            self.cards[0],
            "netns",
            self.names[0],
            "type",
            "veth",
            "peer",
            self.cards[1],
            "netns",
            self.names[1],
        )
        for name, card, address in zip(self.names, self.cards, ADDRESSES, strict=True):
            ip("-n", name, "address", "add", f"{address}/24", "dev", card)
            ip("-n", name, "link", "set", card, "up")

    def train(self, *arguments: str, program: tuple[str, ...] = ("-m", "sslmlflow")) -> None:
        """Start torchrun on both."""
        for number, (name, card, address) in enumerate(zip(self.names, self.cards, ADDRESSES, strict=True)):
            environment = {
                **self._environment,
                "SSLMLFLOW_HOME": str(self._folder / f"home-{number}"),
                "MLFLOW_TRACKING_URI": self.database(number),
                "GLOO_SOCKET_IFNAME": card,
                "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
            }
            meeting = ["--rdzv-id=one", "--rdzv-backend=c10d", f"--rdzv-endpoint={ADDRESSES[0]}:29400"]
            meeting += [f"--rdzv-conf=is_host={1 - number},join_timeout=90", f"--local-addr={address}"]
            torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1", *meeting]
            command = ["ip", "netns", "exec", name, *torchrun, "--max-restarts=3", *program, *TRAINING, *arguments]
            with self._said(number).open("w") as said:
                self._started.append(subprocess.Popen(command, env=environment, stdout=said, stderr=said))

    def connect(self, connected: bool) -> None:
        """Put the cable in, or pull it out."""
        ip("-n", self.names[0], "link", "set", self.cards[0], "up" if connected else "down")

    def wait_for(self, text: str) -> None:
        """Until process 0 has said so."""
        until = time.monotonic() + 180
        while text not in self.said(0):
            assert time.monotonic() < until, self.said(0) + self.said(1)
            time.sleep(0.2)

    def codes(self) -> list[int]:
        """The exit codes, once both have ended."""
        return [process.wait(300) for process in self._started]

    def said(self, number: int) -> str:
        return self._said(number).read_text()

    def _said(self, number: int) -> Path:
        return self._folder / f"said-{number}"

    def database(self, number: int) -> str:
        return f"sqlite:///{self._folder}/mlflow-{number}.db"

    def left(self) -> Left:
        """What is left on the tracking server of process 0."""
        return left_in(self.database(0))

    def close(self) -> None:
        for process in self._started:
            process.kill()
        for name in self.names:
            subprocess.run(["ip", "netns", "pids", name], check=False, capture_output=True)
            ip("netns", "delete", name)


@pytest.fixture
def machines(tmp_path: Path, environment: dict[str, str]) -> Iterator[Machines]:
    made = Machines(tmp_path, environment)
    yield made
    made.close()


def test_two_machines_train_as_one_process_does(
    machines: Machines, sslmlflow: Command, environment: dict[str, str]
) -> None:
    assert sslmlflow(*TRAINING, "--epochs=4").returncode == 0
    alone = dict(left_in(environment["MLFLOW_TRACKING_URI"]).history("train/loss"))
    machines.train("--epochs=4")
    assert machines.codes() == [0, 0], machines.said(0) + machines.said(1)
    assert dict(machines.left().history("train/loss")) == pytest.approx(alone, rel=1e-3)


def test_a_run_goes_on_when_the_connection_is_back(machines: Machines) -> None:
    machines.train("--epochs=300", program=(IMPATIENT,))
    machines.wait_for("\nepoch 5/")
    machines.connect(False)
    machines.wait_for("another process has ended or cannot be reached")
    machines.connect(True)
    assert machines.codes() == [0, 0], machines.said(0) + machines.said(1)
    assert machines.said(0).count("going on with run") == 1
    left = machines.left()
    assert left.run.info.status == "FINISHED"
    assert [step for step, _ in left.history("train/loss")] == list(range(1, 901))


def test_both_end_when_the_connection_does_not_come_back(machines: Machines) -> None:
    machines.train("--epochs=3000", program=(IMPATIENT,))
    machines.wait_for("\nepoch 5/")
    machines.connect(False)
    assert 0 not in machines.codes()
