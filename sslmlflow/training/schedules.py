"""Rates as pure functions of the step, so that a resumed run needs no state of theirs."""

import math
from dataclasses import dataclass
from typing import NamedTuple

NAMES = ("one-cycle", "warmup-cosine", "cosine", "constant", "exponential")
START_DIVISOR = 25.0
END_DIVISOR = 1e4
RISING_SHARE = 0.3
MOMENTUM_RANGE = (0.85, 0.95)
PLAIN_MOMENTUM = 0.9
EXPONENTIAL_END = 1e-3


class Rates(NamedTuple):
    """What an optimiser takes a step with; momentum is Adam's first beta."""

    lr: float
    momentum: float = PLAIN_MOMENTUM
    weight_decay: float = 0.0


@dataclass(frozen=True)
class Schedule:
    """The course of the learning rate over `total_steps`, with its peak `lr`.

    one-cycle: from lr/25 by a cosine to lr over the first 30 %, then to lr/250,000, while momentum goes from
    0.95 to 0.85 and back (Smith 2018, arXiv 1803.09820, in torch's form). warmup-cosine: linear from 0, then
    a half cosine to 0. exponential: by equal factors to a thousandth. All but one-cycle hold momentum at 0.9. Weight
    decay goes by half a cosine to `weight_decay_end`, where that is given.
    """

    name: str
    lr: float
    total_steps: int
    warmup_steps: int = 0
    weight_decay: float = 0.0
    weight_decay_end: float | None = None

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise ValueError(f"schedule {self.name} is not one of {', '.join(NAMES)}")

    def at(self, step: int) -> Rates:
        """The rates of `step`, counted from 0 to total_steps - 1.

        >>> Schedule("cosine", 1.0, total_steps=101).at(50).lr
        0.5
        """
        decay = self.weight_decay
        if self.weight_decay_end is not None:
            decay = _half_cosine(decay, self.weight_decay_end, step / max(self.total_steps - 1, 1))
        return Rates(*self._lr_and_momentum(step), decay)

    def _lr_and_momentum(self, step: int) -> tuple[float, float]:
        if self.name == "one-cycle":
            return self._one_cycle(step)
        if self.name == "warmup-cosine":
            return self._warmup_cosine(step), PLAIN_MOMENTUM
        share = step / max(self.total_steps - 1, 1)
        factor = {
            "cosine": _half_cosine(1.0, 0.0, share),
            "constant": 1.0,
            "exponential": EXPONENTIAL_END**share,
        }
        return self.lr * factor[self.name], PLAIN_MOMENTUM

    def _one_cycle(self, step: int) -> tuple[float, float]:
        low, high = MOMENTUM_RANGE
        start, end = self.lr / START_DIVISOR, self.lr / START_DIVISOR / END_DIVISOR
        peak_step = RISING_SHARE * self.total_steps - 1
        if step <= peak_step:
            share = step / peak_step
            return _half_cosine(start, self.lr, share), _half_cosine(high, low, share)
        share = (step - peak_step) / (self.total_steps - 1 - peak_step)
        return _half_cosine(self.lr, end, share), _half_cosine(low, high, share)

    def _warmup_cosine(self, step: int) -> float:
        if step < self.warmup_steps:
            return self.lr * (step + 1) / self.warmup_steps
        share = (step - self.warmup_steps) / max(self.total_steps - 1 - self.warmup_steps, 1)
        return self.lr * _half_cosine(1.0, 0.0, min(share, 1.0))


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))
