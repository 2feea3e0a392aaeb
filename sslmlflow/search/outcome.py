"""What a search came to without labels: the chosen trial, tables and figures."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlflow import MlflowClient
from optuna.trial import FrozenTrial, TrialState

from sslmlflow.metrics.catalogue import CATALOGUE
from sslmlflow.metrics.unlabelled.halves import Interval
from sslmlflow.reporting.registry import register_model
from sslmlflow.reporting.tables import markdown_table
from sslmlflow.search.attributes import ALARMS, MEASURED, RUNS, VALUES, measured_of, remarks, values_told
from sslmlflow.search.figures import log_figures
from sslmlflow.search.limits import TuningMetrics, describe_limits, rise
from sslmlflow.search.pruning import sound
from sslmlflow.search.space import Range
from sslmlflow.search.study import SEAT, Seats
from sslmlflow.texts import as_csv
from sslmlflow.tracking.run import TrackedRun
from sslmlflow.tracking.stored import milestones_of_run

ALIAS = "label-free-tuned"


@dataclass(frozen=True)
class Outcome:
    """The trials of a study by seat, the metric that judges them, what the untuned has, and the choice."""

    trials: Sequence[FrozenTrial]
    key: str
    untuned: TuningMetrics
    chosen: FrozenTrial | None
    given: Mapping[str, float | None]  # the values that the searched parameters have by themselves

    @property
    def default(self) -> FrozenTrial | None:
        """The trial with these values, if it has a value."""
        return next((trial for trial in self.complete if trial.user_attrs[VALUES] == self.given), None)

    @property
    def complete(self) -> list[FrozenTrial]:
        """The trials that have a value."""
        return [trial for trial in self.trials if trial.state == TrialState.COMPLETE]

    @property
    def gain(self) -> Interval | None:
        """By how much the chosen trial is better than the untuned; None where the metric was not measured on halves.

        The interval is as much wider as the choice of one of so many trials asks for (Bonferroni).
        """
        if self.chosen is None:
            return None
        level = 1 - 0.05 / max(len(self.complete), 1)
        found = rise(self.key, measured_of(self.chosen), self.untuned, level)
        if found is None or not CATALOGUE[self.key].lower_is_better:
            return found
        return Interval(-found.value, -found.high, -found.low)

    def beats_untuned(self) -> bool:
        """Whether the chosen trial is better than tuning with alpha = beta = 0: where there is an interval, beyond it.

        And then by more than another seed may change it.
        """
        if self.chosen is None:
            return False
        if gain := self.gain:
            return gain.low > self.untuned.tolerance.get(self.key, 0.0)
        rise = float(self.chosen.value or 0.0) - self.untuned.values[self.key]
        return (-rise if CATALOGUE[self.key].lower_is_better else rise) > 0


def choose_trial(trials: Sequence[FrozenTrial], lower_is_better: bool) -> FrozenTrial | None:
    """The best finished trial that keeps all limits, the earliest among equals."""
    finished = [trial for trial in trials if trial.state == TrialState.COMPLETE and sound(trial)]
    sign = 1.0 if lower_is_better else -1.0
    return min(finished, key=lambda trial: sign * float(trial.value or 0.0), default=None)


def tell_outcome(
    client: MlflowClient,
    seats: Seats,
    leading: TrackedRun,
    space: Sequence[Range],
    key: str,
    untuned: TuningMetrics,
    given: Mapping[str, float | None],
) -> Outcome:
    """Choose, print, and keep table and figures in the leading run."""
    trials = seats.latest()
    chosen = choose_trial(trials, CATALOGUE[key].lower_is_better)
    outcome = Outcome(trials, key, untuned, chosen, given)
    searched = f"Searched: {', '.join(map(str, space))}. {describe_limits(untuned)}"
    report = f"{verdict(outcome)}\n\n{searched}\n\n{_table(outcome, space)}"  # MLflow shows 8,000 characters
    print(f"\n{report}")
    leading.describe(report)
    client.log_text(leading.run_id, report + "\n", "tune.md")
    client.log_text(leading.run_id, _csv(outcome), "trials.csv")
    if outcome.chosen:
        client.log_metric(leading.run_id, "tune/chosen", float(outcome.chosen.value or 0.0))
        leading.set_tags({"sslmlflow.chosen": ",".join(outcome.chosen.user_attrs[RUNS])})
    client.log_metric(leading.run_id, "tune/untuned", untuned.values[key])
    log_figures(leading, trials, [part.name for part in space], key, untuned.values[key])
    return outcome


def verdict(outcome: Outcome) -> str:
    """The choice in words, and how many trials came to what."""
    states = [trial.state for trial in outcome.trials]
    counted = ", ".join(
        f"{states.count(state)} {word}"
        for state, word in (
            (TrialState.COMPLETE, "finished"),
            (TrialState.PRUNED, "pruned"),
            (TrialState.FAIL, "failed"),
        )
        if state in states
    )
    metric = CATALOGUE[outcome.key]
    text = f"{len(outcome.trials)} trials: {counted}. "
    if outcome.chosen is None:
        return (
            text
            + f"None can be chosen: none finished within the limits that the untuned encoder sets.{_limits(outcome)}"
        )
    values = values_told(outcome.chosen.user_attrs[VALUES])
    what = "Chosen without labels" if outcome.beats_untuned() else "Best without labels, and not chosen"
    text += f"{what}: trial {outcome.chosen.user_attrs[SEAT]} ({values}), the {metric.best} "
    text += f"within the limits, {metric.formatted(float(outcome.chosen.value or 0.0))}. "
    text += f"Untuned (alpha = beta = 0, as long): {metric.formatted(outcome.untuned.values[outcome.key])}."
    text += _compared(outcome) + _limits(outcome)
    for alarm in outcome.chosen.user_attrs[ALARMS]:
        text += f" Suspicious: {alarm}."
    return text


def _limits(outcome: Outcome) -> str:
    """How many finished trials passed each limit."""
    passed = Counter(name for trial in outcome.complete for name, excess in trial.constraints.items() if excess > 0)
    counts = (f"{count} of {len(outcome.complete)} by the {name}" for name, count in passed.most_common())
    return f" Rejected: {', '.join(counts)}." if passed else ""


def _compared(outcome: Outcome) -> str:
    if gain := outcome.gain:
        count = len(outcome.complete)
        ends = f"95 % interval {gain.low:.3f} to {gain.high:.3f}{f', for the best of {count}' if count > 1 else ''}"
        seeds = f"another seed may change it by {outcome.untuned.tolerance.get(outcome.key, 0.0):.3f}"
        text = f" It is {'better' if gain.value > 0 else 'worse'} by {abs(gain.value):.3f} (gain: {ends}; {seeds}):"
        if outcome.beats_untuned():
            return text + " separated by the criterion."
        why = "separably so" if gain.high < 0 else "not separated" if gain.low <= 0 else "no more than another seed may"
        return text + f" {why}: keep the untuned one."
    if not outcome.beats_untuned():
        return " The untuned one is at least as good: keep that."
    return " This metric has no interval: whether the gain is more than chance, nobody says."


def register_chosen(client: MlflowClient, leading: TrackedRun, outcome: Outcome) -> str:
    """Register the chosen trial's last milestone, of its first seed, if it beats the untuned one; in words."""
    if outcome.chosen is None or not outcome.beats_untuned():
        return "Not registered: no trial within the limits beats the untuned encoder."
    last = milestones_of_run(client, outcome.chosen.user_attrs[RUNS][0])[-1]
    tags = {"objective": outcome.key, "trial": str(outcome.chosen.user_attrs[SEAT]), "run_id": leading.run_id}
    return register_model(client, last, ALIAS, tags)


def _table(outcome: Outcome, space: Sequence[Range]) -> str:
    names, metric = [part.name for part in space], CATALOGUE[outcome.key]
    rows = [["trial", *names, metric.name, ""]]
    for trial in outcome.trials:
        values = trial.user_attrs.get(VALUES, {})
        searched = [f"{values[name]:.4g}" if name in values else "–" for name in names]
        value = "–" if trial.value is None or trial.state != TrialState.COMPLETE else metric.formatted(trial.value)
        rows.append([_seat(trial, outcome), *searched, value, remarks(trial)])
    rows.append(["untuned", *("0" if name in ("alpha", "beta") else "–" for name in names)])
    rows[-1] += [metric.formatted(outcome.untuned.values[outcome.key]), ""]
    return markdown_table(rows)


def _seat(trial: FrozenTrial, outcome: Outcome) -> str:
    return f"{trial.user_attrs[SEAT]}{' *' if outcome.chosen and trial.number == outcome.chosen.number else ''}"


def _csv(outcome: Outcome) -> str:
    """Every value of every trial and of the untuned encoder at full precision, one line each."""
    rows: list[list[object]] = [["trial", "state", "name", "value"]]
    for trial in outcome.trials:
        told = {**trial.user_attrs.get(VALUES, {}), **trial.user_attrs.get(MEASURED, {})}
        told |= {f"limit: {name}": excess for name, excess in trial.constraints.items()}
        rows += [[trial.user_attrs[SEAT], trial.state.name, name, value] for name, value in told.items()]
    rows += [["untuned", "COMPLETE", name, value] for name, value in outcome.untuned.values.items()]
    return as_csv(rows)
