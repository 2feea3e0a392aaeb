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
    """The chosen epoch, the epochs that its interval does not separate it from, and whether it is apart from all.

    Neighbours late in training nearly always overlap, so `separated` is rarely true of a sound run.
    """

    chosen: int | None
    tied: tuple[int, ...]
    separated: bool


def choose(candidates: Sequence[Candidate]) -> Choice:
    """Choose the milestone of the highest value; of equal values the earliest.

    Milestones without a finite value are passed over, and `chosen` is None where no value is left. Two milestones are
    separated where their intervals have no point in common; a milestone without an interval is separated from
    nothing. This is stricter than a test of the difference where the intervals come from the same images. A single
    value has nothing to be compared with, and is not separated.

    >>> choose([Candidate(0, 1.0, 0.8, 1.2), Candidate(20, 5.0, 4.6, 5.4), Candidate(40, 5.2, 4.8, 5.6)])
    Choice(chosen=40, tied=(20,), separated=False)
    """
    rated = [c for c in candidates if c.value is not None and isfinite(c.value)]
    if not rated:
        return Choice(None, (), False)
    best = max(rated, key=lambda c: (c.value, -c.epoch))
    others = [c for c in rated if c is not best]
    tied = tuple(sorted(c.epoch for c in others if not _separated(best, c)))
    return Choice(best.epoch, tied, bool(others) and not tied)


def _separated(better: Candidate, worse: Candidate) -> bool:
    return better.low is not None and worse.high is not None and better.low > worse.high
