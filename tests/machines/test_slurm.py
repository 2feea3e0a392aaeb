"""A real Slurm of one node stops a job, as it does before a time limit, and starts it again. Needs root and Slurm."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

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
# As docs/processes.md has it.
JOB = """#!/bin/bash
#SBATCH --time=10 --requeue --open-mode=append --signal=B:TERM@300
trap 'kill -TERM "$training"' TERM
{command} & training=$!
wait "$training"
wait "$training"
code=$?
if [ "$code" = 143 ]; then scontrol requeue "$SLURM_JOB_ID"; fi
exit "$code"
"""


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
        files = {"key-file": "key", "socket": "munge.socket", "pid-file": "munged.pid", "log-file": "munged.log"}
        options = [f"--{name}={folder / file}" for name, file in {**files, "seed-file": "seed"}.items()]
        for command in (["munged", "--force", *options], ["slurmctld"], ["slurmd"]):
            self.run(*command)

    def run(self, *command: str, **more: str) -> str:
        environment = {**os.environ, **self.environment, **more}
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout

    def close(self) -> None:
        self.run("scancel", "--full", "--user=root")
        for daemon in reversed(DAEMONS):
            number = int((self._folder / f"{daemon}.pid").read_text())
            os.kill(number, 15)


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[Slurm]:
    made = Slurm(tmp_path)
    yield made
    made.close()


def test_a_job_that_is_queued_again_continues_its_run(
    slurm: Slurm, environment: dict[str, str], tmp_path: Path
) -> None:
    given = [*SMALL, "--lr=0.001", "--epochs=60", "--milestone_every=60", "--processes=2", "--resume=auto"]
    script, said = tmp_path / "job.sh", tmp_path / "said"
    script.write_text(JOB.format(command=" ".join([sys.executable, "-m", "sslmlflow", "pretrain", *given])))
    number = slurm.run("sbatch", "--parsable", f"--output={said}", str(script), **environment).strip()

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
