"""The milestone chosen without labels: how far the choice can be trusted, and its place in the model registry."""

from mlflow import MlflowClient

from sslmlflow.metrics.alarms import PARTIAL, partly_collapsed
from sslmlflow.metrics.best_value import Candidate, Choice, choose
from sslmlflow.metrics.catalogue import CATALOGUE, CRR_ADJUSTED, STANDARDISED
from sslmlflow.metrics.correlation import lost_at_random, lost_by_the_last
from sslmlflow.reporting.history import History
from sslmlflow.reporting.memorisation import memorised
from sslmlflow.reporting.registry import register_model
from sslmlflow.tracking.stored import deviations_of

ALIAS = "label-free-best"
TRAINED_ON_IT = "UMM raises the coding rate reduction itself: along a tuning, more is no sign of a better encoder."


def choose_milestone(history: History, criterion: str) -> Choice:
    """The milestone with the best value of a label-free criterion, the lowest of a loss; labels play no part."""
    columns = [history.column(key) for key in (criterion, f"{criterion}_low", f"{criterion}_high")]
    if CATALOGUE[criterion].lower_is_better:  # of which none has an interval
        columns[0] = [None if value is None else -value for value in columns[0]]
    paired = criterion == CRR_ADJUSTED
    deviations = [deviations_of(model) if paired else None for model in history.models]
    return choose([Candidate(*row) for row in zip(history.epochs, *columns, deviations, strict=True)])


def verdict(history: History, criterion: str, choice: Choice) -> str:
    """The choice in words: its basis, what it is not separated from, and the points it loses where there are labels."""
    rated = len(history.values.get(criterion, {}))
    if choice.chosen is None:
        return (
            f"No milestone can be chosen without labels: {CATALOGUE[criterion].name} has no value. It is undefined "
            "(the tags of the milestones say why), or not measured yet (`evaluate` does)."
        )
    text = f"Chosen without labels: epoch {choice.chosen}, the {CATALOGUE[criterion].best}"
    text += (
        "." if rated == len(history.epochs) else f" of the {rated} of {len(history.epochs)} milestones that have it."
    )
    if rated == 1:
        text += " There is nothing to compare it with."
    elif not history.has(f"{criterion}_low"):
        text += " This criterion has no interval: nothing is said of how far the choice can be trusted."
    elif choice.tied:
        text += f" The criterion does not separate it from epoch {', '.join(map(str, choice.tied))}."
    elif choice.separated:
        text += " The criterion separates it from all other milestones."
    if not _has_signal(history, criterion, choice):
        text += " It is within the spread of the shuffled baseline: there is no signal to choose by yet."
    values = {key: history.values.get(key, {}).get(choice.chosen, 0.0) for key in PARTIAL}
    for alarm in partly_collapsed(values):
        text += f" Suspicious: {alarm}."
    if words := memorised(history):
        text += f" {words}"
    if history.trained_on_rate:
        text += f" {TRAINED_ON_IT}"
    if (lost := points_lost(history, choice)) is not None:
        best = max(history.values[STANDARDISED].items(), key=lambda item: (item[1], -item[0]))[0]
        where = "" if history.dataset_of(STANDARDISED) == history.dataset else f" on {history.dataset_of(STANDARDISED)}"
        result = f"the best is epoch {best}: the choice lost {lost:.1f} points" if lost else "none is better"
        text += f" By the standardised probe{where} {result}.{_baselines(history)}"
    return text


def _baselines(history: History) -> str:
    last, random = baselines(history)
    if last is None or random is None:
        return ""
    return f" Taking the last loses {last:.1f} points, a random one {random:.1f} on average."


def _has_signal(history: History, criterion: str, choice: Choice) -> bool:
    """Whether the chosen value is beyond its resolution, where the criterion has one."""
    resolution = history.values.get(f"{criterion}_resolution", {})
    return choice.chosen not in resolution or history.values[criterion][choice.chosen] >= resolution[choice.chosen]


def points_lost(history: History, choice: Choice) -> float | None:
    """Percentage points between the chosen milestone's standardised probe and the best; None without labels."""
    accuracies = history.values.get(STANDARDISED, {})
    if choice.chosen not in accuracies:
        return None
    return 100 * (max(accuracies.values()) - accuracies[choice.chosen])


def baselines(history: History) -> tuple[float | None, float | None]:
    """Percentage points that taking the last milestone, and on average a random one, loses; None without labels."""
    accuracies = history.column(STANDARDISED)
    lost = lost_by_the_last(accuracies), lost_at_random(accuracies)
    last, random = (None if points is None else 100 * points for points in lost)
    return last, random


def register(client: MlflowClient, history: History, choice: Choice, criterion: str) -> str:
    """Register the chosen milestone as `sslmlflow-<experiment>` under the alias `label-free-best`, if it is reliable.

    It is separated from all others, beyond its resolution, and measured on enough images. Returns what was done, in
    words. A milestone that is registered already is not registered again.
    """
    if not choice.separated:
        if not history.has(f"{criterion}_low"):
            return "Not registered: this criterion has no interval."
        return "Not registered: it is not separated from all other milestones."
    if not _has_signal(history, criterion, choice):
        return "Not registered: there is no signal to choose by."
    model = next(model for model, epoch in zip(history.models, history.epochs, strict=True) if epoch == choice.chosen)
    tags = {"criterion": criterion, "epoch": str(choice.chosen), "run_id": history.run_id}
    if (lost := points_lost(history, choice)) is not None:
        tags["points_lost"] = f"{lost:.2f}"
    return register_model(client, model, ALIAS, tags)
