"""A training killed again and again is, bit for bit, the training that nobody disturbed."""

import random
import time
from collections import Counter

import psutil
import pytest

from tests.faults.chain import TINY, Calm, Chain, NewChain, losses
from tests.faults.conftest import Told
from tests.faults.size import times

KILLS = times(3, 500)  # of each of two kinds of training
READER_KILLS = times(1, 50)
TRAINING = [*TINY, "--epochs=60", "--milestone_every=7", "--checkpoint_minutes=0.003"]
EDGES = [
    {"event": "os.rename", "path": "/checkpoints/step-"},  # written, but not in its place
    {"event": "os.remove", "path": "/checkpoints/step-"},  # in its place, the oldest not yet removed
    {"event": "os.mkdir", "path": "/milestones/epoch-"},  # measured, but not written
    {"event": "os.rename", "path": "/milestones/epoch-"},  # written, but not in its place
    {"event": "shutil.rmtree", "path": "/milestones/epoch-"},  # in MLflow, or about to be written
    {"event": "os.remove", "path": "encoder.safetensors"},  # deleted halfway, here or by keep=2 in MLflow
    {"event": "shutil.rmtree", "path": "/checkpoints"},  # trained to the end
]


KINDS = [
    pytest.param(["--method=simclr"], 2, {10}, id="simclr-2"),
    # The last milestone may be one of the best: rounding decides it, and that is the processor's.
    pytest.param(
        ["--method=moco-v2", "--method_options=queue_size=80,hidden_width=64", "--keep=2"],
        0,
        {3, 4},
        id="moco-v2 keep=2-0",
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize(("method", "workers", "milestones"), KINDS)
def test_killed_training_ends_bit_identical(
    new_chain: NewChain, calm: Calm, method: list[str], workers: int, milestones: set[int], tell: Told
) -> None:
    expected = calm(*TRAINING, *method)
    assert len(expected.milestones) in milestones
    moments = random.Random(f"{method} {workers}")
    kills, went_on, trainings, lost = 0, 0, 0, Counter[str]()
    while kills < KILLS:
        stormy = new_chain(*TRAINING, *method, f"--workers={workers}")
        trainings += 1
        while (status := _run_and_kill(stormy, moments, kills) if kills < KILLS else stormy.run()) != 0:
            assert status == -9, stormy.said()
            kills += 1
        went_on += stormy.log.read_text().count("going on with run")
        lost.update(losses(stormy.left(), expected))
    told = ", ".join(f"{count} {what}" for what, count in lost.items())
    tell(f"T1 {method[0]}, {workers} workers: {kills} SIGKILLs, {went_on} resumes, {trainings} trainings: {told}")
    assert went_on >= kills // 2, "killed too early to test anything"
    assert not any(lost.values()), told


def _run_and_kill(chain: Chain, moments: random.Random, kills: int) -> int:
    """Every third at an edge, every third while it trains, every third at any time."""
    if kills % 3 == 0:
        return chain.run(trap={**moments.choice(EDGES), "count": moments.randint(1, 3), "number": 9})
    if kills % 3 == 1:
        return chain.kill(moments.uniform(0.0, 0.4), once_it_trains=True)
    return chain.kill(moments.uniform(0.0, 1.2), once_it_trains=False)


@pytest.mark.slow
def test_killed_readers(new_chain: NewChain, calm: Calm, tell: Told) -> None:
    expected = calm(*TRAINING, "--method=simclr")
    moments = random.Random("readers")
    kills, failed, trainings, lost = 0, 0, 0, Counter[str]()
    while kills < READER_KILLS:
        stormy = new_chain(*TRAINING, "--method=simclr", "--workers=2")
        trainings += 1
        for _ in range(min(3, READER_KILLS - kills)):
            child = stormy.begin()
            processes = _kill_a_reader(stormy, child, moments)
            kills += len(processes) > 0
            _, alive = psutil.wait_procs(processes[1:], timeout=5)
            assert not alive, "readers work on"
            status = stormy.wait()
            if not processes or status == 0:  # it was through with its steps
                break
            failed += 1
            assert status == 1, stormy.said()
            assert "a reading process was killed (signal 9)" in stormy.said()
            assert "Traceback" not in stormy.said()
            assert stormy.left().run.info.status == "FAILED"
        else:
            assert stormy.run() == 0, stormy.said()
        lost.update(losses(stormy.left(), expected))
    told = ", ".join(f"{count} {what}" for what, count in lost.items())
    tell(f"a reader killed: {kills} SIGKILLs, {failed} failed in words, {trainings} trainings: {told}")
    assert failed >= kills // 2, "killed too late to test anything"
    assert not any(lost.values()), told


def _kill_a_reader(chain: Chain, child: int, moments: random.Random) -> list[psutil.Process]:
    """Kill one of the readers at a random time after they have begun; the training and its readers, or nothing."""
    training = psutil.Process(child)
    patience = time.monotonic() + 120
    while not (readers := _readers(training)) and training.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < patience, chain.said()
        time.sleep(0.01)
    time.sleep(moments.uniform(0.0, 0.2))
    readers = _readers(training) or readers
    try:
        moments.choice(readers).kill()
    except (IndexError, psutil.NoSuchProcess):
        return []
    return [training, *readers]


def _readers(training: psutil.Process) -> list[psutil.Process]:
    try:
        return training.children()
    except psutil.NoSuchProcess:
        return []
