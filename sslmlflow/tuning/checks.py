"""Whether a tuned encoder is sound beside the one that was tuned as long with alpha = beta = 0; no label is asked.

Coding rates alone cannot say so: a tuning that is trained on them can raise them and harm the encoder.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import hypot
from statistics import fmean, stdev

from scipy.stats import t as students_t

from sslmlflow.measures import HELD_OUT_LOSS, MEASURES, SPREAD, lower_is_better
from sslmlflow.metrics.unlabelled.halves import Halves, Interval, difference, mean_of

POOLED = "label_free/crr_pooled"
NOISY = "tune/objective_with_noise"
LIMITED = (HELD_OUT_LOSS, POOLED)  # what must not become worse
MOST_SPREAD = 0.95


@dataclass(frozen=True)
class Measured:
    """What a tuning came to: metrics by key, and how some of them vary over the same halves of the held-out images.

    With several seeds these are means, and `by_seed` has the values of each.
    """

    values: Mapping[str, float]
    deviations: Mapping[str, Sequence[float]]
    by_seed: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def halves(self, key: str) -> Halves | None:
        """A metric over the halves, where it has a value and was measured on them."""
        if key not in self.values or not self.deviations.get(key):
            return None
        return Halves(self.values[key], tuple(self.deviations[key]))

    @classmethod
    def mean(cls, several: Sequence["Measured"]) -> "Measured":
        """The mean over seeds, of what every one has."""
        keys = [key for key in several[0].values if all(key in one.values for one in several)]
        halves = {key: [found for one in several if (found := one.halves(key))] for key in keys}
        means = {key: mean_of(found) for key, found in halves.items() if len(found) == len(several)}
        by_seed = {key: [one.values[key] for one in several] for key in keys}
        values = {key: fmean(of_seeds) for key, of_seeds in by_seed.items()}
        return cls(values, {key: mean.deviations for key, mean in means.items()}, by_seed)


def rise(key: str, tuned: Measured, untuned: Measured, level: float = 0.95) -> Interval | None:
    """By how much a metric is higher after tuning, with its interval; None where it was not measured on halves.

    Two things could make it differ by chance. Other held-out images: the standard deviation of the difference over the
    same halves, Student's t. Another seed of the tuning: the standard deviation over the seeds of the untuned one, for
    means of as many seeds as there are, Student's t; nothing where that has one seed. The half widths add in squares.
    """
    of_tuned, of_untuned = tuned.halves(key), untuned.halves(key)
    if of_tuned is None or of_untuned is None:
        return None
    found = difference(of_tuned, of_untuned, level)
    seeds, seeds_tuned = untuned.by_seed.get(key, ()), max(len(tuned.by_seed.get(key, ())), 1)
    width = found.high - found.value
    if (count := len(seeds)) > 1:
        factor = float(students_t.ppf((1 + level) / 2, count - 1)) * (1 / seeds_tuned + 1 / count) ** 0.5
        width = hypot(width, factor * stdev(seeds))
    return Interval(found.value, found.value - width, found.value + width)


@dataclass(frozen=True)
class Limit:
    """A metric that a tuning may not make worse; an excess above 0 passes it, and `words` say how."""

    name: str
    excess: float
    words: str


def limits(tuned: Measured, untuned: Measured) -> list[Limit]:
    """What the encoder that was tuned with alpha = beta = 0 sets for a tuned one: nothing may be separably worse.

    The method's own loss on held-out images may not be higher, and the pooled coding rate reduction not lower, by more
    than other images and seeds would explain: the interval of `rise` must reach 0. What has no value passes its limit
    by 1.
    """
    return [_limit(key, tuned, untuned) for key in LIMITED]


def _limit(key: str, tuned: Measured, untuned: Measured) -> Limit:
    measure, found = MEASURES[key], rise(key, tuned, untuned)
    if found is None:
        which = "of the untuned encoder " if untuned.halves(key) is None else ""
        return Limit(measure.name, 1.0, f"{measure.name} {which}has no value")
    lower = lower_is_better(key)
    worse = found if lower else Interval(-found.value, -found.high, -found.low)
    return Limit(
        measure.name,
        worse.low,
        f"{measure.name} {measure.told(tuned.values[key])} is {'above' if lower else 'below'} the untuned "
        f"{measure.told(untuned.values[key])} by {worse.value:.3f} (95 % interval {worse.low:.3f} to {worse.high:.3f})",
    )


def alarms(measured: Mapping[str, float], objective: str, lower_is_better: bool) -> list[str]:
    """What makes a value suspicious, in words: embeddings spread as noise is, and an objective that noise improves."""
    found = []
    if measured.get(SPREAD, 0.0) > MOST_SPREAD:
        found.append(f"embeddings are spread as whitened ones or noise are (U = {measured[SPREAD]:.2f})")
    if NOISY in measured and objective in measured:
        gain = measured[NOISY] - measured[objective]
        if (-gain if lower_is_better else gain) > 0:
            found.append(f"noise added to the embeddings improves the objective (by {abs(gain):.3g})")
    return found
