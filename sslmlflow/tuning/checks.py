"""Whether a tuned encoder is sound beside the one that was tuned as long with alpha = beta = 0; no label is asked.

Coding rates alone cannot say so: a tuning that is trained on them can raise them and harm the encoder.
"""

from collections.abc import Mapping

from sslmlflow.measures import HELD_OUT_LOSS

ALIGNMENT, SPREAD, POOLED = "label_free/crr_A", "label_free/crr_U", "label_free/crr_pooled"
NOISY = "tune/objective_with_noise"
ALIGNMENT_LOST, LOSS_RISE, MOST_SPREAD = 0.02, 0.05, 0.95


def constraints(tuned: Mapping[str, float], untuned: Mapping[str, float]) -> dict[str, float]:
    """By how much each limit is passed, by its name; 0 or less keeps it, and what has no value passes it.

    Alignment A may fall by 0.02 below the untuned, the held-out loss of the method rise by 5 %, the pooled coding rate
    reduction not fall.
    """
    found = {
        "alignment": _beyond(untuned, tuned, ALIGNMENT, -ALIGNMENT_LOST),
        "pooled coding rate reduction": _beyond(untuned, tuned, POOLED, 0.0),
        "held-out loss": 1.0,
    }
    if HELD_OUT_LOSS in tuned and HELD_OUT_LOSS in untuned:
        rise = tuned[HELD_OUT_LOSS] - untuned[HELD_OUT_LOSS]
        found["held-out loss"] = rise - LOSS_RISE * abs(untuned[HELD_OUT_LOSS])  # SimSiam's is negative
    return found


def _beyond(untuned: Mapping[str, float], tuned: Mapping[str, float], key: str, slack: float) -> float:
    return untuned[key] - tuned[key] + slack if key in untuned and key in tuned else 1.0


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
