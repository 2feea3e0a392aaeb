"""A real Slurm of one node stops a job by the signal of a time limit, and starts it again. Needs root and Slurm."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.faults.size import LONG
from tests.jobs.small import SMALL, left_in
from tests.mlflow_server import free_port

DAEMONS = "munged", "slurmctld", "slurmd"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not LONG, reason="tested by `make long`"),
    pytest.mark.skipif(
        os.name != "posix" or os.geteuid() != 0 or not all(map(shutil.which, DAEMONS)), reason="no Slurm"
    ),
]
CONFIGURATION = """
ClusterName=here
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores}
PartitionName=all Nodes=ALL Default=YES
"""


def script(command: str) -> str:
    """The script of docs/processes.md around another command, for a smaller machine and a shorter limit."""
    text = (ROOT / "docs" / "processes.md").read_text()
    (found,) = re.findall(r"^    (#!/bin/bash\n(?:    .*\n)+)", text, flags=re.MULTILINE)
    found = found.replace("\n    ", "\n")
    for before, after in (("--gpus-per-node=4 --time=240", "--time=10"), (r"^sslmlflow .*(?= & )", command)):
        found, count = re.subn(before, after, found, flags=re.MULTILINE)
        assert count == 1
    return found


class Slurm:
    """A cluster of this machine alone."""

    def __init__(self, folder: Path) -> None:
        self._folder, host = folder, socket.gethostname().partition(".")[0]
        for name in ("state", "spool"):
            (folder / name).mkdir()
        (folder / "key").write_bytes(os.urandom(1024))
        (folder / "key").chmod(0o400)
        about = CONFIGURATION.format(folder=folder, host=host, ports=(free_port(), free_port()), cores=os.cpu_count())
        (folder / "slurm.conf").write_text(about)
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf")}

    def start(self) -> None:
        files = {"key-file": "key", "socket": "munge.socket", "pid-file": "munged.pid", "log-file": "munged.log"}
        options = [f"--{name}={self._folder / file}" for name, file in {**files, "seed-file": "seed"}.items()]
        for command in (["munged", "--force", *options], ["slurmctld"], ["slurmd"]):
            self.run(*command)

    def run(self, *command: str, **more: str) -> str:
        environment = {**os.environ, **self.environment, **more}
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout

    def close(self) -> None:
        subprocess.run(["scancel", "--full", "--user=root"], env={**os.environ, **self.environment}, check=False)
        for daemon in reversed(DAEMONS):
            if (pid := self._folder / f"{daemon}.pid").exists():
                os.kill(int(pid.read_text()), signal.SIGTERM)


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[Slurm]:
    made = Slurm(tmp_path)
    try:
        made.start()
        yield made
    finally:
        made.close()


def test_a_job_that_is_queued_again_continues_its_run(
    slurm: Slurm, environment: dict[str, str], tmp_path: Path
) -> None:
    given = [*SMALL, "--lr=0.001", "--epochs=60", "--milestone_every=60", "--processes=2", "--resume=auto"]
    job, said = tmp_path / "job.sh", tmp_path / "said"
    job.write_text(script(" ".join([sys.executable, "-m", "sslmlflow", "pretrain", *given])))
    number = slurm.run("sbatch", "--parsable", f"--output={said}", str(job), **environment).strip()

    def wait_for(text: str) -> None:
        until = time.monotonic() + 400
        while text not in (said.read_text() if said.exists() else ""):
            assert time.monotonic() < until, said.read_text()
            time.sleep(0.5)

    wait_for("\nepoch 3/60")
    slurm.run("scancel", "--batch", "--signal=TERM", number)  # as --signal=B:TERM does
    wait_for("stopped; the same command with --resume=auto goes on")
    wait_for("measures its milestones")  # the last line; Slurm starts a job again after two minutes
    assert said.read_text().count("going on with run") == 1
    left = left_in(environment["MLFLOW_TRACKING_URI"])
    assert left.run.info.status == "FINISHED"
    assert [step for step, _ in left.history("train/loss")] == list(range(1, 181))
