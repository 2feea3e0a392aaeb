"""A disk that is full at any write: what was there stays, it is told, and it goes on once there is space."""

import random
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sslmlflow.training.checkpoint import load_checkpoint
from tests.conftest import NewDatabase
from tests.faults.chain import TINY, Calm, Chain, NewChain, losses
from tests.faults.conftest import Told
from tests.faults.size import times

TRIES = times(2, 67)  # of each of three kinds of full disk
TRAINING = [*TINY, "--epochs=20", "--milestone_every=5", "--checkpoint_minutes=0.0005"]
SAID = ("cannot write", "are free in", "disk is full", "Free some space", "disk I/O error")
SMALLEST, LARGEST = 10e3, 4e6  # bytes free
SAVED = {"event": "os.rename", "path": "/checkpoints/step-", "number": 9}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no disk can be mounted here; the test with a limit of files says what it can")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("everything", [True, False], ids=["everything", "home"])
def test_full_disk(new_chain: NewChain, calm: Calm, disk: Path, everything: bool, tell: Told) -> None:
    """Everything lies on the disk that fills up, or SSLMLFLOW_HOME alone."""

    def begin() -> Chain:
        for path in disk.iterdir():
            shutil.rmtree(path)
        return new_chain(*TRAINING, folder=disk if everything else None, SSLMLFLOW_HOME=f"{disk}/home")

    def run(chain: Chain, free: int) -> int:
        (disk / "filler").write_bytes(bytes(max(0, shutil.disk_usage(disk).free - free)))
        status = chain.run()
        (disk / "filler").unlink()
        return status

    _fill(calm, begin, run, "a full disk " + ("with everything" if everything else "with SSLMLFLOW_HOME"), tell)


@pytest.mark.slow
def test_limited_files(new_chain: NewChain, calm: Calm, new_database: NewDatabase, tell: Told) -> None:
    """No file may grow beyond some bytes, as by a quota; the space on the disk tells nothing of it."""

    def begin() -> Chain:
        chain = new_chain(*TRAINING)
        new_database(chain.folder)  # larger than most limits here
        return chain

    def run(chain: Chain, free: int) -> int:
        return chain.run(file_limit=max(free, chain.log.stat().st_size + 4000))

    _fill(calm, begin, run, "files of limited size", tell)


def _fill(calm: Calm, begin: Callable[[], Chain], run: Callable[[Chain, int], int], what: str, tell: Told) -> None:
    """Run trainings that go on a bit while there is space and then find so much or so much, until they end."""
    spaces = random.Random(what)
    full, late, trainings, lost = 0, 0, 0, Counter[str]()
    while full < TRIES:
        chain = begin()
        trainings += 1
        reached, status = -1, 1
        while status and full < TRIES:
            if full % 2:
                if (status := chain.run(trap={**SAVED, "count": spaces.randint(2, 6)})) == 0:
                    break
                reached = max(reached, _last_step(Path(chain.environment["SSLMLFLOW_HOME"])))
            before = chain.log.stat().st_size
            status = run(chain, int(SMALLEST * (LARGEST / SMALLEST) ** spaces.random()))
            told = chain.log.read_text()[before:]
            full += status != 0
            late += status != 0 and reached >= 0
            assert status in (0, 1), told
            assert status == 0 or any(words in told for words in SAID), told
            lost["tracebacks"] += told.count("Traceback")
            after = _last_step(Path(chain.environment["SSLMLFLOW_HOME"]))
            lost["checkpoints that went back"] += status != 0 and after < reached
            reached = max(reached, after)
        assert status == 0 or chain.run() == 0, chain.said()
        lost.update(losses(chain.left(), calm(*TRAINING)))
    told = ", ".join(f"{count} {kind}" for kind, count in lost.items())
    tell(f"T5 {what}: {full} times full, {late} of them beside a checkpoint, {trainings} trainings: {told}")
    assert late, "always full before the first checkpoint"
    assert not any(lost.values()), told


def _last_step(home: Path) -> int:
    steps = [load_checkpoint(folder) for folder in home.glob("runs/*/checkpoints")]
    return max((checkpoint.step for checkpoint in steps if checkpoint), default=-1)
