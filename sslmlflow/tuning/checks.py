"""Whether a tuned encoder is sound beside the one that was tuned as long with alpha = beta = 0; no label is asked.

Coding rates alone cannot say so: a tuning that is trained on them can raise them and harm the encoder.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from sslmlflow.measures import HELD_OUT_LOSS, MEASURES, SPREAD, lower_is_better
from sslmlflow.metrics.unlabelled.halves import Halves, difference, mean_of

POOLED = "label_free/crr_pooled"
NOISY = "tune/objective_with_noise"
LIMITED = (HELD_OUT_LOSS, POOLED)  # what must not become worse
MOST_SPREAD = 0.95


@dataclass(frozen=True)
class Measured:
    """What a tuning came to: metrics by key, and how some of them vary over the same halves of the held-out images."""

    values: Mapping[str, float]
    deviations: Mapping[str, Sequence[float]]

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
        return cls(
            {key: fmean(one.values[key] for one in several) for key in keys},
            {key: mean.deviations for key, mean in means.items()},
        )


@dataclass(frozen=True)
class Limit:
    """A metric that a tuning may not make worse; an excess above 0 passes it, and `words` say how."""

    name: str
    excess: float
    words: str


def limits(tuned: Measured, untuned: Measured) -> list[Limit]:
    """What the encoder that was tuned with alpha = beta = 0 sets for a tuned one: nothing may be separably worse.

    The method's own loss on held-out images may not be higher, and the pooled coding rate reduction not lower, by more
    than other held-out images would explain: the 95 % interval of the difference over the same halves of the images
    must reach 0. What has no value passes its limit by 1.
    """
    return [_limit(key, tuned, untuned) for key in LIMITED]


def _limit(key: str, tuned: Measured, untuned: Measured) -> Limit:
    measure, of_tuned, of_untuned = MEASURES[key], tuned.halves(key), untuned.halves(key)
    if of_tuned is None or of_untuned is None:
        which = "of the untuned encoder " if of_untuned is None else ""
        return Limit(measure.name, 1.0, f"{measure.name} {which}has no value")
    rise = difference(of_tuned, of_untuned)
    lower = lower_is_better(key)
    excess = rise.low if lower else -rise.high
    by, ends = (rise.value, rise[1:]) if lower else (-rise.value, (-rise.high, -rise.low))
    return Limit(
        measure.name,
        excess,
        f"{measure.name} {measure.told(of_tuned.value)} is {'above' if lower else 'below'} the untuned "
        f"{measure.told(of_untuned.value)} by {by:.3f} (95 % interval {ends[0]:.3f} to {ends[1]:.3f})",
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
