"""Whether a tuned encoder is sound beside the one that was tuned as long with alpha = beta = 0; no label is asked.

Coding rates alone cannot say so: a tuning that is trained on them can raise them and harm the encoder.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, stdev

from sslmlflow.metrics.alarms import MOST_SPREAD
from sslmlflow.metrics.catalogue import CATALOGUE, HELD_OUT_LOSS, SPREAD, lower_is_better
from sslmlflow.metrics.unlabelled.halves import Halves, Interval, difference, mean_of

POOLED = "label_free/crr_pooled"
NOISY = "tune/objective_with_noise"
LIMITED = (HELD_OUT_LOSS, POOLED)  # what must not become worse


@dataclass(frozen=True)
class TuningMetrics:
    """Metrics of a tuning by key, means over its seeds, and their deviations over halves of the images.

    Of the untuned one also `tolerance`: by how much another seed may change a metric.
    """

    values: Mapping[str, float]
    deviations: Mapping[str, Sequence[float]]
    tolerance: Mapping[str, float] = field(default_factory=dict)

    def halves(self, key: str) -> Halves | None:
        """A metric over the halves, where it has a value and was measured on them."""
        if key not in self.values or not self.deviations.get(key):
            return None
        return Halves(self.values[key], tuple(self.deviations[key]))

    @classmethod
    def mean(cls, several: Sequence["TuningMetrics"]) -> "TuningMetrics":
        """The mean over seeds, of what every one has."""
        keys = [key for key in several[0].values if all(key in one.values for one in several)]
        halves = {key: [found for one in several if (found := one.halves(key))] for key in keys}
        means = {key: mean_of(found) for key, found in halves.items() if len(found) == len(several)}
        values = {key: fmean(one.values[key] for one in several) for key in keys}
        return cls(values, {key: mean.deviations for key, mean in means.items()})

    @classmethod
    def untuned(cls, seeds: Sequence["TuningMetrics"], trial_seeds: int) -> "TuningMetrics":
        """The mean over the seeds that trials have, the first ones, with the tolerance that all of them give.

        That is two standard deviations over the seeds, of a mean of as many seeds as a trial has; none of one seed.
        """
        mean = cls.mean(seeds[:trial_seeds])
        by_seed = {key: [one.values[key] for one in seeds if key in one.values] for key in mean.values}
        spread = {key: stdev(values) for key, values in by_seed.items() if len(values) > 1}
        return replace(mean, tolerance={key: 2 * sd / trial_seeds**0.5 for key, sd in spread.items()})


def rise(key: str, tuned: TuningMetrics, untuned: TuningMetrics, level: float = 0.95) -> Interval | None:
    """By how much a metric is higher after tuning, with its interval for other held-out images.

    Both have the same seeds and are measured on the same halves of the images. None where it was not measured on these.
    """
    of_tuned, of_untuned = tuned.halves(key), untuned.halves(key)
    return difference(of_tuned, of_untuned, level) if of_tuned and of_untuned else None


@dataclass(frozen=True)
class Limit:
    """A metric that a tuning may not make worse; an excess above 0 passes it, and `words` say how."""

    name: str
    excess: float
    words: str


def limits(tuned: TuningMetrics, untuned: TuningMetrics) -> list[Limit]:
    """What the encoder that was tuned with alpha = beta = 0 sets for a tuned one: nothing may be separably worse.

    The method's own loss on held-out images may not be higher, and the pooled coding rate reduction not lower, by more
    than other images and another seed would explain: the interval of `rise` must reach the tolerance. What has no value
    passes its limit by 1.
    """
    return [_limit(key, tuned, untuned) for key in LIMITED]


def describe_limits(untuned: TuningMetrics) -> str:
    """Describe the limits that the untuned encoder sets."""
    found = []
    for key in LIMITED:
        if key in untuned.values:
            metric, side = CATALOGUE[key], "above" if lower_is_better(key) else "below"
            tolerance = untuned.tolerance.get(key, 0.0)
            found.append(f"{metric.name} separably {side} {metric.formatted(untuned.values[key])} by {tolerance:.3f}")
    return f"A trial is rejected for a {' or a '.join(found)}." if found else "The untuned encoder sets no limit."


def _limit(key: str, tuned: TuningMetrics, untuned: TuningMetrics) -> Limit:
    metric, found = CATALOGUE[key], rise(key, tuned, untuned)
    if found is None:
        which = "of the untuned encoder " if untuned.halves(key) is None else ""
        return Limit(metric.name, 1.0, f"{metric.name} {which}has no value")
    lower, tolerance = lower_is_better(key), untuned.tolerance.get(key, 0.0)
    worse = found if lower else Interval(-found.value, -found.high, -found.low)
    tuned_value, untuned_value = (metric.formatted(one.values[key]) for one in (tuned, untuned))
    return Limit(
        metric.name,
        worse.low - tolerance,
        f"{metric.name} {tuned_value} is {'above' if lower else 'below'} the untuned {untuned_value} by "
        f"{worse.value:.3f} (95 % interval {worse.low:.3f} to {worse.high:.3f}; another seed may change it by "
        f"{tolerance:.3f})",
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
