"""Memory that runs out anywhere: one sentence, exit code 1, a run that FAILED, and no process is left."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress

import pytest

from tests.faults.chain import TINY, NewChain
from tests.faults.conftest import Told
from tests.faults.size import times

TRIES = times(1, 40)
CRASHES = (-signal.SIGSEGV, -signal.SIGABRT)
LARGE = ["--width=32", "--max_train_images=1000", "--batch_size=1000", "--epochs=1", "--workers=2"]
ENOUGH = 500_000_000  # bytes for everything but a step


@pytest.mark.slow
def test_a_batch_that_is_too_large_is_named(new_chain: NewChain) -> None:
    chain = new_chain(*TINY, *LARGE)
    child = chain.begin(memory=ENOUGH)
    assert chain.wait() == 1, chain.said()
    said = chain.said()
    assert "in step 1 with --batch_size=1000 and --workers=2. Start another run with a lower --batch_size" in said
    assert "`ulimit -v` allows" in said
    assert "Traceback" not in said
    assert chain.left().run.info.status == "FAILED"
    _assert_nothing_left(child)


@pytest.mark.slow
def test_memory_that_runs_out_anywhere(new_chain: NewChain, tell: Told) -> None:
    """Libraries that are not Python may crash where they get no memory; then, too, no process is left."""
    sizes = random.Random(0)
    ends = Counter[int]()
    for _ in range(TRIES):
        chain = new_chain(*TINY, *LARGE)
        child = chain.begin(memory=int(10 ** sizes.uniform(5, 8.6)))
        ends[status := chain.wait()] += 1
        assert status in (1, *CRASHES), chain.said()
        assert "Traceback" not in chain.said()
        if status == 1:
            assert "sslmlflow: out of memory" in chain.said() or "cannot start a reading process" in chain.said()
        _assert_nothing_left(child)
    tell(f"memory that runs out: {TRIES} limits, {ends[1]} told in one sentence, no process left")
    assert ends[1] >= 0.8 * TRIES, ends


def _assert_nothing_left(group: int) -> None:
    patience = time.monotonic() + 5
    with suppress(ProcessLookupError):
        while time.monotonic() < patience:
            os.killpg(group, 0)
            time.sleep(0.1)
        raise AssertionError("a process works on")


@pytest.mark.slow
@pytest.mark.parametrize("kilobytes", [400_000, 3_000_000][: times(1, 2)])
def test_memory_that_does_not_suffice_to_import(environment: dict[str, str], kilobytes: int) -> None:
    command = f'ulimit -v {kilobytes} && exec "$@"'
    done = subprocess.run(
        ["sh", "-c", command, "-", sys.executable, "-m", "sslmlflow", "pretrain"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("sslmlflow: out of memory (`ulimit -v` allows ")
    assert done.stderr.count("\n") == 1
