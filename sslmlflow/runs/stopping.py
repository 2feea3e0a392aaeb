"""When a training is to stop: it has passed its peak, or it memorises."""

from collections.abc import Collection, Mapping, Sequence
from math import nan
from typing import NamedTuple

from sslmlflow.config.training import MEMORISATION, TrainingOptions
from sslmlflow.errors import ConfigError
from sslmlflow.metrics.catalogue import CRR_ADJUSTED, GAP_CRR, MEASURES
from sslmlflow.reporting.memorisation import EVIDENCE, memorising
from sslmlflow.runs.retention import Keep, read_keep
from sslmlflow.tracking.spool import Spool


class Stop(NamedTuple):
    """Why a training stops, and the epoch after which it has not become better."""

    peak: int
    words: str


def keep_of(options: TrainingOptions) -> Keep:
    """Which milestones stay; ConfigError where the one that stopping names might be deleted."""
    keep = read_keep(options.keep)
    if keep.best is not None and options.stop_on not in ("no", CRR_ADJUSTED):
        raise ConfigError(
            f"invalid value for keep: {options.keep} (must be all with stop_on={options.stop_on}: milestones with a "
            "lower adjusted CRR are deleted, and the one to go back to can be among them)"
        )
    return keep


def stopped(options: TrainingOptions, spool: Spool) -> Stop | None:
    """Whether a training is to stop because of what its milestones show."""
    if options.stop_on == "no":
        return None
    epochs, patience = spool.milestone_epochs(), options.patience
    if options.stop_on == MEMORISATION:
        columns = {key: spool.milestone_values(key) for key in EVIDENCE}
        alarmed = {
            epoch for epoch in epochs if memorising({key: of[epoch] for key, of in columns.items() if epoch in of})
        }
        peak = memorised_after(epochs, alarmed, patience)
        words = f"every milestone after epoch {peak} is better on training images than on as many held-out ones"
    else:
        measure = MEASURES[options.stop_on]
        peak = passed_peak(epochs, spool.milestone_values(options.stop_on), patience, measure.lower_is_better)
        words = f"{measure.best} at epoch {peak}, and {patience} milestones have not passed it"
    return None if peak is None else Stop(peak, words)


def watched_for(options: TrainingOptions, values: Mapping[str, float]) -> list[str]:
    """What stopping looks at, of one milestone, in words; nothing where that is told anyway."""
    if options.stop_on == MEMORISATION and GAP_CRR in values:
        ends = [values.get(f"{GAP_CRR}_{end}", nan) for end in ("low", "high")]
        return [f"gap to training images {values[GAP_CRR]:.2f} (95 % interval {ends[0]:.2f} to {ends[1]:.2f})"]
    if options.stop_on in MEASURES and options.stop_on != CRR_ADJUSTED and options.stop_on in values:
        measure = MEASURES[options.stop_on]
        return [f"{measure.name} {measure.formatted(values[options.stop_on])}"]
    return []


def passed_peak(
    epochs: Sequence[int], values: Mapping[int, float], patience: int, lower_is_better: bool = False
) -> int | None:
    """The epoch of the best value, if `patience` milestones or more came after it; else None.

    epochs: of all milestones so far, ascending; values: the criterion by epoch, missing where it is undefined. Of
    equal values the earliest is the peak. Without any value there is no peak, and training goes on.

    >>> passed_peak([0, 5, 10, 15], {0: 1.0, 5: 2.0, 10: 1.9}, patience=2)
    5
    """
    if not values:
        return None
    sign = -1.0 if lower_is_better else 1.0
    peak = max(values, key=lambda epoch: (sign * values[epoch], -epoch))
    return peak if sum(epoch > peak for epoch in epochs) >= patience else None


def memorised_after(epochs: Sequence[int], memorising: Collection[int], patience: int) -> int | None:
    """The last epoch before the alarm, if the last `patience` milestones or more gave it; else None.

    epochs: of all milestones so far, ascending; memorising: those that gave the alarm. A training whose first
    milestone gave it never stops: its images differ from the held-out ones by themselves.

    >>> memorised_after([0, 5, 10, 15], {10, 15}, patience=2)
    5
    """
    if not epochs or epochs[0] in memorising:
        return None
    last = max(epoch for epoch in epochs if epoch not in memorising)
    return last if sum(epoch > last for epoch in epochs) >= patience else None
