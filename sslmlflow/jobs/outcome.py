"""What a search came to without labels: the chosen trial, tables and figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlflow import MlflowClient
from optuna.trial import FrozenTrial, TrialState

from sslmlflow.jobs.choice import register_model
from sslmlflow.jobs.tables import markdown_table
from sslmlflow.jobs.trials import ALARMS, MEASURED, RUNS, VALUES, remarks, values_told
from sslmlflow.jobs.tune_figures import log_figures
from sslmlflow.measures import CRR_ADJUSTED, MEASURES
from sslmlflow.metrics.unlabelled.halves import Halves, Interval, difference, mean_of
from sslmlflow.texts import as_csv
from sslmlflow.tracking.run import TrackedRun
from sslmlflow.tracking.stored import deviations_of, milestones_of_run
from sslmlflow.tuning.pruning import sound
from sslmlflow.tuning.space import Range
from sslmlflow.tuning.study import SEAT, Seats

ALIAS = "label-free-tuned"
UNTUNED_RUNS = "untuned_runs"  # attribute of a study


@dataclass(frozen=True)
class Outcome:
    """The trials of a study by seat, the metric that judges them, what the untuned has, and the choice."""

    trials: Sequence[FrozenTrial]
    key: str
    untuned: Mapping[str, float]
    chosen: FrozenTrial | None
    given: Mapping[str, float | None]  # the values that the searched parameters have by themselves
    gain: Interval | None = None  # of the chosen over the untuned, on the same halves of the images

    @property
    def default(self) -> FrozenTrial | None:
        """The trial with these values, if it has a value."""
        return next((trial for trial in self.complete if trial.user_attrs[VALUES] == self.given), None)

    @property
    def complete(self) -> list[FrozenTrial]:
        """The trials that have a value."""
        return [trial for trial in self.trials if trial.state == TrialState.COMPLETE]

    def beats_untuned(self) -> bool:
        """Whether the chosen trial is better than tuning with alpha = beta = 0, beyond the interval if there is one.

        It is for other held-out images, of the adjusted CRR alone: of the difference where both have deviations, and
        else of each.
        """
        if self.chosen is None:
            return False
        if self.gain:
            return self.gain.low > 0
        if self.has_interval():  # of which more is better
            return bool(self.chosen.user_attrs[MEASURED][f"{self.key}_low"] > self.untuned[f"{self.key}_high"])
        gain = float(self.chosen.value or 0.0) - self.untuned[self.key]
        return (-gain if MEASURES[self.key].lower_is_better else gain) > 0

    def has_interval(self) -> bool:
        """Whether the metric of the untuned and of the chosen trial has an interval."""
        measured = (self.untuned, self.chosen.user_attrs[MEASURED] if self.chosen else {})
        return all(f"{self.key}_{end}" in one for one in measured for end in ("low", "high"))


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
    untuned: Mapping[str, float],
    given: Mapping[str, float | None],
) -> Outcome:
    """Choose, print, and keep table and figures in the leading run."""
    trials = seats.latest()
    chosen = choose_trial(trials, MEASURES[key].lower_is_better)
    gain = paired_gain(client, key, chosen, untuned, seats.study.user_attrs.get(UNTUNED_RUNS, []))
    outcome = Outcome(trials, key, untuned, chosen, given, gain)
    report = f"{verdict(outcome)}\n\n{_table(outcome, space)}"  # MLflow shows 8,000 characters
    print(f"\n{report}")
    leading.describe(report)
    client.log_text(leading.run_id, report + "\n", "tune.md")
    client.log_text(leading.run_id, _csv(outcome), "trials.csv")
    if outcome.chosen:
        client.log_metric(leading.run_id, "tune/chosen", float(outcome.chosen.value or 0.0))
        leading.set_tags({"sslmlflow.chosen": ",".join(outcome.chosen.user_attrs[RUNS])})
    client.log_metric(leading.run_id, "tune/untuned", untuned[key])
    log_figures(leading, trials, [part.name for part in space], key, untuned[key])
    return outcome


def paired_gain(
    client: MlflowClient,
    key: str,
    chosen: FrozenTrial | None,
    untuned: Mapping[str, float],
    untuned_runs: Sequence[str],
) -> Interval | None:
    """How much higher the chosen trial is than the untuned, over the same halves of the images; means over seeds.

    None where the metric has no deviations, or milestones of an earlier release kept none.
    """
    if key != CRR_ADJUSTED or chosen is None:
        return None
    sides = []
    for value, runs in ((float(chosen.value or 0.0), chosen.user_attrs[RUNS]), (untuned[key], untuned_runs)):
        last = [milestones_of_run(client, run)[-1:] for run in runs]  # somebody may have deleted it
        kept = [Halves(value, deviations) for (model,) in filter(None, last) if (deviations := deviations_of(model))]
        if len({len(one.deviations) for one in kept}) != 1 or len(kept) < len(last):
            return None
        sides.append(mean_of(kept))
    of_chosen, of_untuned = sides
    return difference(of_chosen, of_untuned) if len(of_chosen.deviations) == len(of_untuned.deviations) else None


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
    measure = MEASURES[outcome.key]
    text = f"{len(outcome.trials)} trials: {counted}. "
    if outcome.chosen is None:
        return text + "None can be chosen: none finished within the limits that the untuned encoder sets."
    values = values_told(outcome.chosen.user_attrs[VALUES])
    best = "lowest" if measure.lower_is_better else "highest"
    text += f"Chosen without labels: trial {outcome.chosen.user_attrs[SEAT]} ({values}), the {best} {measure.name} "
    text += f"within the limits, {measure.told(float(outcome.chosen.value or 0.0))}. "
    text += f"Untuned (alpha = beta = 0, as long): {measure.told(outcome.untuned[outcome.key])}."
    text += _compared(outcome)
    for alarm in outcome.chosen.user_attrs[ALARMS]:
        text += f" Suspicious: {alarm}."
    return text


def _compared(outcome: Outcome) -> str:
    if outcome.gain:
        low, high = outcome.gain.low, outcome.gain.high
        text = f" On the same images it is higher by {outcome.gain.value:.3f} (95 % interval {low:.3f} to {high:.3f}):"
        return text + (" separated by the criterion." if outcome.beats_untuned() else " not separated, so keep that.")
    if outcome.has_interval():
        if outcome.beats_untuned():
            return " The intervals of the two lie apart: the gain is more than the choice of images."
        return " The interval of the chosen one does not lie beyond that of the untuned one: keep that."
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
    names, measure = [part.name for part in space], MEASURES[outcome.key]
    rows = [["trial", *names, measure.name, ""]]
    for trial in outcome.trials:
        values = trial.user_attrs.get(VALUES, {})
        searched = [f"{values[name]:.4g}" if name in values else "–" for name in names]
        told = "–" if trial.value is None or trial.state != TrialState.COMPLETE else measure.told(trial.value)
        rows.append([_seat(trial, outcome), *searched, told, remarks(trial, outcome.untuned)])
    rows.append(["untuned", *("0" if name in ("alpha", "beta") else "–" for name in names)])
    rows[-1] += [measure.told(outcome.untuned[outcome.key]), ""]
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
    rows += [["untuned", "COMPLETE", name, value] for name, value in outcome.untuned.items()]
    return as_csv(rows)
