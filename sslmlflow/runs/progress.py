"""How far a training is: a bar on a terminal, elsewhere a line a minute, and once an estimate of the whole."""

import sys
import time
from collections.abc import Callable

from tqdm import tqdm

from sslmlflow.training.loop import Step

LINE_SECONDS = 60.0
MEASURED_SECONDS = 10.0  # of steps, before the estimate
WORTH_SECONDS = 60.0  # what takes less is not estimated
LONG_SECONDS = 86400.0


def say(text: str) -> None:
    """Print a line above the bar, and at once: a log file is read while the training runs."""
    tqdm.write(text)
    sys.stdout.flush()


class Progress:
    """Reports the steps of a training.

    Estimates are of the remaining steps, at the mean speed of those of this process. Neither the first step, which
    is slower, nor milestones and checkpoints are in them.

    Args:
        total: Steps of the whole training.
        done: Steps that were taken before.
        batch_size: Images per step.
        shorter: What would shorten the training, for the warning where it takes days.
        terminal: Whether to draw a bar; by default, where stderr is a terminal.
        clock: Gives seconds.
        say: Prints a line.
    """

    def __init__(
        self,
        total: int,
        done: int,
        batch_size: int,
        shorter: str,
        terminal: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
        say: Callable[[str], None] = say,
    ) -> None:
        self._total, self._batch_size, self._shorter = total, batch_size, shorter
        self._clock, self._say = clock, say
        self._terminal = sys.stderr.isatty() if terminal is None else terminal
        self._bar = tqdm(total=total, initial=done, unit="step", disable=not self._terminal, smoothing=0.1)
        self._said = clock()
        self._first = True
        self._measured, self._seconds = 0, 0.0
        self._estimated = False

    def step(self, step: Step) -> None:
        """Report a step."""
        if self._first:
            self._first = False
        else:
            self._measured += 1
            self._seconds += self._batch_size / step.images_per_second
        how = f"loss {step.losses['loss']:.3f}, {step.images_per_second:,.0f} images/s"
        self._bar.set_postfix_str(how, refresh=False)
        self._bar.update()
        left = self._left(step)
        if not self._estimated and left is not None and self._seconds >= MEASURED_SECONDS:
            self._estimated = True
            self._estimate(step, left)
        if not self._terminal and self._clock() - self._said >= LINE_SECONDS:
            self._said = self._clock()
            rest = "" if left is None else f", about {duration(left)} left"
            self._say(f"step {step.step:,}/{self._total:,}  {how}{rest}")

    def close(self) -> None:
        """Remove the bar."""
        self._bar.close()

    def _left(self, step: Step) -> float | None:
        return (self._total - step.step) * self._seconds / self._measured if self._measured else None

    def _estimate(self, step: Step, left: float) -> None:
        whole = left + (self._measured + 1) * self._seconds / self._measured
        count = self._total - step.step + self._measured + 1
        if whole < WORTH_SECONDS:
            return
        which = f"all {count:,} steps" if count == self._total else f"the remaining {count:,} of {self._total:,} steps"
        self._say(f"about {duration(whole)} for {which} at this speed, milestones not counted")
        if whole > LONG_SECONDS:
            self._say(f"warning: this takes {duration(whole)} on this machine; shorter with {self._shorter}")


def duration(seconds: float) -> str:
    """Seconds in the two largest units that matter.

    >>> [duration(seconds) for seconds in (8.4, 75, 3600, 12_000, 200_000, 2_000_000)]
    ['8 s', '1 min 15 s', '1 h', '3 h 20 min', '2 d 7 h', '23 d']
    """
    whole = max(round(seconds), 0)
    parts = [(whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s")]
    first = next((place for place, (count, _) in enumerate(parts) if count), 3)
    shown = parts[first : first + (1 if first == 3 or parts[first][0] >= 10 else 2)]
    return " ".join(f"{count} {unit}" for count, unit in shown if count or first == 3)
