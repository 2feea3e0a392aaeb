"""Choosing a milestone by a label-free criterion, and telling how far the choice can be trusted."""

from collections.abc import Sequence
from math import isfinite
from typing import NamedTuple


class Candidate(NamedTuple):
    """A milestone: the criterion and the interval around it, each None where it is undefined."""

    epoch: int
    value: float | None
    low: float | None
    high: float | None


class Choice(NamedTuple):
    """The chosen epoch, the epochs that its interval does not separate it from, and what it is separated from.

    `separated_from_all` is about every other milestone that has a value, `separated_from_start` about the earliest
    milestone alone: whether training has gained anything that other images would show as well. Neighbours late in
    training nearly always overlap, so the first is rarely true of a sound run.
    """

    chosen: int | None
    tied: tuple[int, ...]
    separated_from_all: bool
    separated_from_start: bool


def choose(candidates: Sequence[Candidate]) -> Choice:
    """Choose the milestone of the highest value; of equal values the earliest.

    Milestones without a finite value are passed over, and `chosen` is None where no value is left. Two milestones are
    separated where their intervals have no point in common; a milestone without an interval is separated from
    nothing. This is stricter than a test of the difference where the intervals come from the same images. With nothing
    to compare with, that is a single value, or a start that is undefined or itself chosen, "separated" is False.

    >>> choose([Candidate(0, 1.0, 0.8, 1.2), Candidate(20, 5.0, 4.6, 5.4), Candidate(40, 5.2, 4.8, 5.6)])
    Choice(chosen=40, tied=(20,), separated_from_all=False, separated_from_start=True)
    """
    rated = [c for c in candidates if c.value is not None and isfinite(c.value)]
    if not rated:
        return Choice(None, (), False, False)
    best = max(rated, key=lambda c: (c.value, -c.epoch))
    others = [c for c in rated if c is not best]
    tied = tuple(sorted(c.epoch for c in others if not _separated(best, c)))
    start = min(candidates, key=lambda c: c.epoch)
    from_start = start in others and start.epoch not in tied
    return Choice(best.epoch, tied, bool(others) and not tied, from_start)


def _separated(better: Candidate, worse: Candidate) -> bool:
    return better.low is not None and worse.high is not None and better.low > worse.high
