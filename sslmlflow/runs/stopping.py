"""When a training is to stop: it has passed its peak, or it memorises."""

from collections.abc import Mapping
from math import nan
from typing import NamedTuple

from sslmlflow.config.options import NONE
from sslmlflow.config.training import MEMORISATION, TrainingOptions
from sslmlflow.metrics.alarms import EVIDENCE, memorising
from sslmlflow.metrics.catalogue import CATALOGUE, CRR_ADJUSTED, GAP_CRR
from sslmlflow.tracking.spool import Spool
from sslmlflow.training.early_stopping import memorised_after, passed_peak


class Stop(NamedTuple):
    """Why a training stops, and the epoch after which it has not become better."""

    peak: int
    words: str


def stopped(options: TrainingOptions, spool: Spool) -> Stop | None:
    """Whether a training is to stop because of what its milestones show."""
    if options.stop_on == NONE:
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
        metric = CATALOGUE[options.stop_on]
        peak = passed_peak(epochs, spool.milestone_values(options.stop_on), patience, metric.lower_is_better)
        words = f"{metric.best} at epoch {peak}, and {patience} milestones have not passed it"
    return None if peak is None else Stop(peak, words)


def stop_metric(options: TrainingOptions, values: Mapping[str, float]) -> list[str]:
    """Describe the value that decides on stopping; empty if it is printed anyway."""
    if options.stop_on == MEMORISATION and GAP_CRR in values:
        ends = [values.get(f"{GAP_CRR}_{end}", nan) for end in ("low", "high")]
        return [f"gap to training images {values[GAP_CRR]:.2f} (95 % interval {ends[0]:.2f} to {ends[1]:.2f})"]
    if options.stop_on in CATALOGUE and options.stop_on != CRR_ADJUSTED and options.stop_on in values:
        metric = CATALOGUE[options.stop_on]
        return [f"{metric.name} {metric.formatted(values[options.stop_on])}"]
    return []
