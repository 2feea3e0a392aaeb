"""How good a search without labels was, by labels that it has not seen: read only when all is chosen."""

import statistics
from collections.abc import Mapping, Sequence

from mlflow import MlflowClient
from mlflow.entities import LoggedModel

from sslmlflow.config.evaluate import EvaluationOptions
from sslmlflow.config.options import options_of, texts_of
from sslmlflow.config.tune import Tune
from sslmlflow.data import open_labels
from sslmlflow.data.opening import cache_folder, dataset_spec, open_and_tell
from sslmlflow.evaluation.evaluate import evaluate
from sslmlflow.metrics.catalogue import ACCURACIES, ALIGNMENT, CATALOGUE, OBJECTIVES, STANDARDISED
from sslmlflow.metrics.correlation import corrected, lost_at_random, regret, spearman
from sslmlflow.reporting.history import history_of
from sslmlflow.reporting.tables import markdown_table
from sslmlflow.runs.umm import training_images
from sslmlflow.search.attributes import RUNS
from sslmlflow.search.outcome import Outcome
from sslmlflow.search.study import SEAT
from sslmlflow.tracking.run import TrackedRun
from sslmlflow.tracking.stored import epoch_of, milestones_of_run
from sslmlflow.training.device import choose_machine

Values = dict[str, float]
LEAST = 4  # trials, below which a rank correlation says nothing
# What could be judged by without labels: name, and whether lower is better.
JUDGED = {key: (CATALOGUE[key].name, CATALOGUE[key].lower_is_better) for key in OBJECTIVES}
JUDGED[ALIGNMENT] = "alignment A", False


def tell_accuracies(
    config: Tune,
    client: MlflowClient,
    leading: TrackedRun,
    model: LoggedModel,
    outcome: Outcome,
    untuned_runs: Sequence[str],
) -> None:
    """Accuracies of the chosen, the best, the default and the untuned trial, and what each metric would have chosen.

    The accuracy is that of the standardised probe, the mean over the seeds of a trial; the untuned has the same seeds,
    and beside that the mean over all of its own. Without labels nothing is reported.
    """
    size, images = training_images(client, config, str(model.source_run_id))
    spec = dataset_spec(images, size, config.labels)
    if open_labels(spec, cache_folder()) is None:
        print("the data set has no labels: how good the choice was, nobody knows")
        return
    runs = {trial.user_attrs[SEAT]: trial.user_attrs[RUNS] for trial in outcome.complete}
    last = {run: milestones_of_run(client, run)[-1] for of_trial in (*runs.values(), untuned_runs) for run in of_trial}
    texts = texts_of(config)
    leading.log_missing_params({name: texts[name] for name in options_of(EvaluationOptions)})
    device = choose_machine(config.device, "float32").device
    pictured = outcome.chosen.user_attrs[RUNS][0] if outcome.chosen else None  # the first seed's
    others = [last[run] for run in last if run != pictured]
    sets = open_and_tell(spec)
    evaluate(leading, spec, sets, config, [model, *others], device, pictured=False)
    if pictured:
        evaluate(leading, spec, sets, config, [last[pictured]], device)
    measured = {seat: _means(client, of_trial) for seat, of_trial in runs.items()}
    beside = {"untuned, as long": _means(client, untuned_runs[: config.trial_seeds])}
    if len(untuned_runs) > config.trial_seeds:
        beside[f"untuned, as long, mean of {len(untuned_runs)} seeds"] = _means(client, untuned_runs)
    beside["before"] = _of_model(client, model)
    report = f"{_accuracies(outcome, measured, beside)}\n\n{_objectives(measured)}"
    print(f"\n{report}")
    client.log_text(leading.run_id, report + "\n", "accuracies.md")
    note = client.get_run(leading.run_id).data.tags.get("mlflow.note.content", "")
    verdict, _, table = note.partition("\n\n")
    leading.describe(f"{verdict}\n\n{report}\n\n{table}")


def _means(client: MlflowClient, runs: Sequence[str]) -> Values:
    """The metrics of the last milestones of a trial's runs, where every run has them."""
    histories = [history_of(client, run) for run in runs]
    found = [{key: history.column(key)[-1] for key in (*JUDGED, *ACCURACIES)} for history in histories]
    return {
        key: statistics.fmean(values)
        for key in (*JUDGED, *ACCURACIES)
        if len(values := [value for one in found if (value := one[key]) is not None]) == len(runs)
    }


def _of_model(client: MlflowClient, model: LoggedModel) -> Values:
    history = history_of(client, str(model.source_run_id))
    place = history.epochs.index(epoch_of(model))
    return {key: value for key in ACCURACIES if (value := history.column(key)[place]) is not None}


def _accuracies(outcome: Outcome, measured: Mapping[int, Values], beside: Mapping[str, Values]) -> str:
    best = max(measured, key=lambda seat: (measured[seat].get(STANDARDISED, 0.0), -seat), default=None)
    told: list[tuple[str, Values]] = []
    if outcome.chosen:
        seat = outcome.chosen.user_attrs[SEAT]
        told.append((f"chosen without labels, trial {seat}", measured[seat]))
    if best is not None:
        told.append((f"best by labels, trial {best}", measured[best]))
    if outcome.default:
        seat = outcome.default.user_attrs[SEAT]
        told.append((f"default, trial {seat}", measured[seat]))
    told += beside.items()
    keys = [key for key in ACCURACIES if any(key in values for _, values in told)]
    rows = [["", *(CATALOGUE[key].name for key in keys)]]
    for name, values in told:
        cells = (CATALOGUE[key].formatted(values[key]) if key in values else "–" for key in keys)
        rows.append([name, *cells])
    return markdown_table(rows, words=1)


def _objectives(measured: Mapping[int, Values]) -> str:
    """For each label-free metric its rank correlation with the accuracy, and the regret of choosing a trial by it."""
    seats = [seat for seat, values in measured.items() if STANDARDISED in values]
    if len(seats) < LEAST:
        return f"How each metric goes with accuracy over trials is told of {LEAST} finished trials and more."
    rows = [
        ["objective", "Spearman's rho with the standardised probe", "p, corrected", "points lost by choosing by it"]
    ]
    judged = []
    for key, (name, lower_is_better) in JUDGED.items():
        rated = [seat for seat in seats if key in measured[seat]]
        if len(rated) < LEAST:
            continue
        values = [(-1.0 if lower_is_better else 1.0) * measured[seat][key] for seat in rated]
        accuracies = [measured[seat][STANDARDISED] for seat in rated]
        judged.append((name, spearman(values, accuracies), 100 * (regret(values, accuracies) or 0.0)))
    for (name, found, lost), p in zip(judged, corrected([found.p for _, found, _ in judged]), strict=True):
        told = [f"{found.r:+.2f}", "< 0.001" if p < 0.001 else f"{p:.3f}"] if found.reason is None else ["–", "–"]
        rows.append([name, *told, f"{lost:.1f}"])
    random = lost_at_random([measured[seat][STANDARDISED] for seat in seats]) or 0.0
    rows.append(["a random trial, on average (baseline)", "–", "–", f"{100 * random:.1f}"])
    table = markdown_table(rows, words=1)
    return f"Over {len(seats)} finished trials, limits aside; a metric to be low is taken negative:\n\n{table}"
