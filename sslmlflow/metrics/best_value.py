"""The best of several values of a criterion, and which others the criterion does not separate from it."""

from collections.abc import Sequence
from math import isfinite
from typing import NamedTuple

from sslmlflow.metrics.unlabelled.halves import Halves, difference


class Candidate(NamedTuple):
    """A milestone: the criterion, its interval and its deviations over halves of the images, None where undefined."""

    epoch: int
    value: float | None
    low: float | None = None
    high: float | None = None
    deviations: tuple[float, ...] | None = None


class Choice(NamedTuple):
    """The chosen epoch, the epochs that the criterion does not separate it from, and whether it is apart from all.

    Neighbours late in training are often not separated, so `separated` is rarely true of a sound run.
    """

    chosen: int | None
    tied: tuple[int, ...]
    separated: bool


def choose(candidates: Sequence[Candidate]) -> Choice:
    """Choose the milestone of the highest value; of equal values the earliest.

    Milestones without a finite value are passed over, and `chosen` is None where no value is left. Two milestones are
    separated where the interval of their difference, over the same halves of the same images, does not hold 0. Where
    one has no deviations (earlier releases kept none), they are separated where their intervals have no point in
    common, which is stricter; without intervals, nothing is separated. A single value has nothing to be compared with,
    and is not separated. Separated means by this criterion: it does not say which encoder is better.

    >>> choose([Candidate(0, 1.0, 0.8, 1.2), Candidate(20, 5.0, 4.6, 5.4), Candidate(40, 5.2, 4.8, 5.6)])
    Choice(chosen=40, tied=(20,), separated=False)
    >>> choose([Candidate(20, 5.0, deviations=(-0.4, 0.4)), Candidate(40, 5.2, deviations=(-0.4, 0.4))])
    Choice(chosen=40, tied=(), separated=True)
    """
    rated = [c for c in candidates if c.value is not None and isfinite(c.value)]
    if not rated:
        return Choice(None, (), False)
    best = max(rated, key=lambda c: (c.value, -c.epoch))
    others = [c for c in rated if c is not best]
    tied = tuple(sorted(c.epoch for c in others if not _separated(best, c)))
    return Choice(best.epoch, tied, bool(others) and not tied)


def _separated(better: Candidate, worse: Candidate) -> bool:
    first, second = (_halves(candidate) for candidate in (better, worse))
    if first and second and len(first.deviations) == len(second.deviations):
        return difference(first, second).low > 0
    return better.low is not None and worse.high is not None and better.low > worse.high


def _halves(candidate: Candidate) -> Halves | None:
    if candidate.value is None or not candidate.deviations or len(candidate.deviations) < 2:
        return None
    return Halves(candidate.value, candidate.deviations)
