"""Two machines that resume one run at the same moment: at most one trains it, and no point is doubled."""

import shutil
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.chain import TINY, Calm, NewChain, losses
from tests.faults.conftest import Told
from tests.faults.size import times

ROUNDS = times(1, 20)
TRAINING = [*TINY, "--epochs=8", "--milestone_every=4"]
REFUSED = "another process works on run", "was trained to step"  # the latter where the other one was so quick


@pytest.mark.slow
def test_two_homes_at_once(new_chain: NewChain, calm: Calm, tell: Told) -> None:
    """The homes are copies of the one in which the run was begun; in every other round that one takes part."""
    expected = calm(*TRAINING)
    trained, lost = Counter[int](), Counter[str]()
    for number in range(ROUNDS):
        chain = new_chain(*TRAINING)
        # In the second epoch at the latest: the first checkpoint is written, and most is still to be trained.
        trap = {"event": "os.rename", "path": "/checkpoints/step-", "count": 1 + number % 3, "number": 15}
        assert chain.run(trap=trap) == 143, chain.said()
        (run_id,) = (path.parent.name for path in Path(chain.environment["SSLMLFLOW_HOME"]).glob("runs/*/run.json"))
        homes = [Path(chain.environment["SSLMLFLOW_HOME"]), chain.folder / "copy", chain.folder / "second copy"]
        for copy in homes[1:]:
            shutil.copytree(homes[0], copy)
        both = homes[:2] if number % 2 else homes[1:]
        command = [*chain.arguments[:-1], f"--resume={run_id}"]
        done = chain.run(module="tests.faults.both", arguments=[":".join(map(str, both)), *command])
        trained[done] += 1
        assert done == 1, chain.said()
        assert sum(chain.log.read_text().count(refused) for refused in REFUSED) == 1, chain.said()
        lost.update(losses(chain.left(), expected))
        assert "Traceback" not in chain.said()
    told = ", ".join(f"{count} {what}" for what, count in lost.items())
    tell(f"T9: {ROUNDS} times two homes at once: {trained[1]} times one of them trained: {told}")
    assert not any(lost.values()), told
