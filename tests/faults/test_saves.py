"""A kill inside the saving of a large checkpoint, with the system's folder for temporary files on another disk."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from sslmlflow.training.checkpoint import load_checkpoint
from tests.faults.conftest import Told
from tests.faults.size import times
from tests.fork_server import ForkServer

KILLS = times(20, 500)


@pytest.mark.slow
def test_a_checkpoint_is_always_there_and_never_an_older_one(
    fork_server: ForkServer, environment: dict[str, str], tmp_path: Path, tell: Told
) -> None:
    folder, log = tmp_path / "checkpoints", tmp_path / "said.txt"
    moments = random.Random(0)
    reached, not_loadable, went_back, half_written = 0, 0, 0, 0
    for _ in range(KILLS):
        log.write_text("")
        child = fork_server.start(
            module="tests.faults.saving",
            arguments=[str(folder), str(reached + 1)],
            environment={**environment, "TMPDIR": "/dev/shm"},
            folder=str(tmp_path),
            stdout=str(log),
            stderr=str(log),
        )
        while not reached and "saved" not in log.read_text():  # the very first one has none before it
            time.sleep(0.01)
        time.sleep(moments.uniform(0.0, 0.5))
        os.kill(child, signal.SIGKILL)
        assert os.WIFSIGNALED(fork_server.wait()), log.read_text()
        told = [int(line.removeprefix("saved ")) for line in log.read_text().splitlines()]
        half_written += bool(list(folder.glob("*.part")))
        found = load_checkpoint(folder)
        if found is None or not bool((found.tensors["weight"] == found.step).all()):
            not_loadable += 1
        elif found.step < max([reached, *told]):
            went_back += 1
        reached = max([reached, *told]) if found is None else found.step
    tell(
        f"T2: {KILLS} SIGKILLs while 60 MB were saved, {half_written} of them half written: "
        f"{not_loadable} times no whole checkpoint, {went_back} times an older one than before"
    )
    assert half_written > KILLS // 30, "killed at the wrong moments to test anything"
    assert not not_loadable
    assert not went_back
