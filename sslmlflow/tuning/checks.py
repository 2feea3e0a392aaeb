"""Whether a tuned encoder is sound beside the one that was tuned as long with alpha = beta = 0; no label is asked.

Coding rates alone cannot say so: a tuning that is trained on them can raise them and harm the encoder.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from sslmlflow.measures import ALIGNMENT, HELD_OUT_LOSS, SPREAD

POOLED = "label_free/crr_pooled"
NOISY = "tune/objective_with_noise"
ALIGNMENT_LOST, LOSS_RISE, MOST_SPREAD = 0.02, 0.05, 0.95


@dataclass(frozen=True)
class Limit:
    """How far a metric of a tuned encoder may fall, or rise where `rising`."""

    name: str
    key: str
    bound: float  # NaN where the untuned encoder has no value
    rising: bool = False

    def excess(self, tuned: Mapping[str, float]) -> float:
        """By how much the limit is passed; 0 or less keeps it, and what has no value passes it by 1."""
        beyond = self.bound - tuned.get(self.key, math.nan)
        return 1.0 if math.isnan(beyond) else -beyond if self.rising else beyond

    def told(self, tuned: Mapping[str, float]) -> str:
        """How the limit is passed, in words."""
        if self.key not in tuned or math.isnan(self.bound):
            return f"{self.name} has no value"
        return f"{self.name} {tuned[self.key]:.4g}, the limit is {self.bound:.4g}"


def limits(untuned: Mapping[str, float]) -> list[Limit]:
    """What the encoder that was tuned with alpha = beta = 0 sets for all others.

    Alignment A may fall by 0.02 below it, the pooled coding rate reduction not fall, the held-out loss of the method
    rise by 5 %.
    """
    loss = untuned.get(HELD_OUT_LOSS, math.nan)
    return [
        Limit("alignment", ALIGNMENT, untuned.get(ALIGNMENT, math.nan) - ALIGNMENT_LOST),
        Limit("pooled coding rate reduction", POOLED, untuned.get(POOLED, math.nan)),
        Limit("held-out loss", HELD_OUT_LOSS, loss + LOSS_RISE * abs(loss), rising=True),  # SimSiam's is negative
    ]


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
