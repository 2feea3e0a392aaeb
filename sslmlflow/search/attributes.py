"""The attributes of studies and trials, and how a trial is described."""

from collections.abc import Mapping

from optuna.trial import FrozenTrial, Trial, TrialState

from sslmlflow.metrics.catalogue import CATALOGUE
from sslmlflow.search.limits import TuningMetrics
from sslmlflow.search.study import SEAT, WHY
from sslmlflow.texts import printable

PARENT, SETTINGS, RANGES = (
    "run",
    "settings",
    "ranges",
)  # attributes of a study: the run that leads it, what it depends on
UNTUNED, UNTUNED_RUNS = "untuned", "untuned_runs"  # and the result of a tuning of the same length with alpha = beta = 0
# Of a trial.
RUNS, MEASURED, DEVIATIONS, VALUES = "runs", "measured", "deviations", "values"
ALARMS, BEYOND, BEHIND = "alarms", "beyond", "behind"  # words


def values_told(values: Mapping[str, float]) -> str:
    """The values that a trial tries, in words."""
    return ", ".join(f"{name} = {value:.4g}" for name, value in values.items())


def keep_measured(trial: Trial, measured: TuningMetrics) -> None:
    """Keep in a trial what was measured."""
    trial.set_user_attr(MEASURED, measured.values)
    trial.set_user_attr(DEVIATIONS, measured.deviations)


def measured_of(trial: FrozenTrial) -> TuningMetrics:
    """What was measured of a finished trial."""
    return TuningMetrics(*(trial.user_attrs[name] for name in (MEASURED, DEVIATIONS)))


def remarks(trial: FrozenTrial) -> str:
    """What a table says of a trial beside its value."""
    if trial.state == TrialState.FAIL:
        return printable(trial.user_attrs.get(WHY, "its process died again and again"))
    if trial.state == TrialState.PRUNED:
        return f"pruned: {printable(trial.user_attrs[BEHIND])}"
    if trial.state != TrialState.COMPLETE:
        return trial.state.name.lower()
    return "; ".join(map(printable, [*trial.user_attrs[BEYOND], *trial.user_attrs[ALARMS]]))


def trial_told(trial: FrozenTrial, key: str) -> str:
    """A trial that has ended, in one line."""
    words = remarks(trial)
    if trial.state == TrialState.COMPLETE:
        value = f"{CATALOGUE[key].name} {CATALOGUE[key].formatted(float(trial.value or 0.0))}"
        words = f"{value}; {words}" if words else value
    elif trial.state == TrialState.FAIL:
        words = f"failed: {words}"
    return f"trial {trial.user_attrs[SEAT]} ({values_told(trial.user_attrs.get(VALUES, {}))}): {words}"
