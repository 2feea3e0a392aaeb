"""What is said of a training while it runs: a line a minute without a terminal, and once how long it takes."""

import pytest

from sslmlflow.runs.progress import Progress
from sslmlflow.training.loop import Step


class Training:
    """A training whose steps take `seconds` by a clock of its own; 100 images per step."""

    def __init__(self, total: int, done: int = 0, terminal: bool = False) -> None:
        self.now, self.step, self.said = 0.0, done, list[str]()
        self.progress = Progress(
            total, done, 100, "fewer --epochs", terminal, clock=lambda: self.now, say=self.said.append
        )

    def go(self, steps: int, seconds: float, milestone_seconds: float = 0.0) -> list[str]:
        """Take steps, each followed by a milestone, and give what is said meanwhile."""
        before = len(self.said)
        for _ in range(steps):
            self.now += seconds
            self.step += 1
            self.progress.step(Step(self.step, 1, {"loss": 2.5}, 0.1, 100 / seconds))
            self.now += milestone_seconds
        return self.said[before:]


def test_without_a_terminal_a_line_is_said_every_minute() -> None:
    said = Training(total=4000).go(1450, seconds=0.125)
    lines = [line for line in said if line.startswith("step")]
    assert lines == [
        "step 480/4,000  loss 2.500, 800 images/s, about 7 min 20 s left",
        "step 960/4,000  loss 2.500, 800 images/s, about 6 min 20 s left",
        "step 1,440/4,000  loss 2.500, 800 images/s, about 5 min 20 s left",
    ]


def test_slow_steps_are_each_said() -> None:
    lines = [line for line in Training(total=10).go(3, seconds=90) if line.startswith("step")]
    assert lines[0] == "step 1/10  loss 2.500, 1 images/s"  # one step may be slower than the others
    assert lines[1:] == [
        "step 2/10  loss 2.500, 1 images/s, about 12 min left",
        "step 3/10  loss 2.500, 1 images/s, about 10 min left",
    ]


def test_on_a_terminal_there_is_a_bar_and_no_line_but_the_estimate(capsys: pytest.CaptureFixture[str]) -> None:
    training = Training(total=4000, terminal=True)
    assert training.go(1500, seconds=0.1) == [
        "about 6 min 40 s for all 4,000 steps at this speed, milestones not counted"
    ]
    training.progress.close()
    assert "1500/4000" in capsys.readouterr().err


@pytest.mark.parametrize("milestone_seconds", [0.0, 30.0])
def test_the_whole_is_estimated_once_without_the_first_step_and_milestones(milestone_seconds: float) -> None:
    training = Training(total=24_000)
    training.go(1, seconds=20)
    said = [line for line in training.go(60, 0.5, milestone_seconds) if line.startswith("about")]
    assert said == ["about 3 h 20 min for all 24,000 steps at this speed, milestones not counted"]
    assert training.now >= 21 + 20 * milestone_seconds


def test_a_resumed_training_estimates_what_remains() -> None:
    said = Training(total=2000, done=1000).go(200, seconds=0.5)
    assert said[0] == "about 8 min 20 s for the remaining 1,000 of 2,000 steps at this speed, milestones not counted"
    assert said[1] == "step 1,120/2,000  loss 2.500, 200 images/s, about 7 min 20 s left"


def test_a_training_of_days_is_warned_of_with_what_would_shorten_it() -> None:
    said = Training(total=1_000_000).go(50, seconds=0.5)
    assert said == [
        "about 5 d 18 h for all 1,000,000 steps at this speed, milestones not counted",
        "warning: this takes 5 d 18 h on this machine; shorter with fewer --epochs",
    ]


def test_of_a_short_training_nothing_is_said() -> None:
    assert Training(total=100).go(100, seconds=0.5) == []
