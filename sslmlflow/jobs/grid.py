"""Entry point `grid`: what a weight of UMM's objective, or the distortion of its coding rate, makes of a milestone."""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial

from mlflow import MlflowClient

from sslmlflow.config.evaluate import EvaluationOptions
from sslmlflow.config.grid import Grid
from sslmlflow.config.options import as_text, options_of, texts_of
from sslmlflow.config.umm import Umm
from sslmlflow.data.opening import dataset_spec
from sslmlflow.errors import ConfigError
from sslmlflow.evaluation.evaluate import evaluate
from sslmlflow.metrics.catalogue import ACCURACIES, CATALOGUE, CRR, CRR_ADJUSTED
from sslmlflow.reporting.history import History, history_of
from sslmlflow.reporting.milestone_choice import TRAINED_ON_IT
from sslmlflow.reporting.tables import markdown_table
from sslmlflow.runs.origin import Origin
from sslmlflow.runs.start import starting_milestone
from sslmlflow.runs.train import require_checkpoints, train_to_end
from sslmlflow.runs.umm import prepare, training_images, umm_run
from sslmlflow.texts import as_csv
from sslmlflow.tracking.lock import run_folder
from sslmlflow.tracking.notes import note
from sslmlflow.tracking.run import TrackedRun, tracked_run
from sslmlflow.tracking.server import check_experiment, connect, is_there

DEFAULTS = {"alpha": (0, 0.01, 0.03, 0.1, 0.3, 1, 3), "eps": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)}
DEFAULTS["beta"] = DEFAULTS["alpha"]
START, PART = "before", "sslmlflow.grid"  # PART: tag of the grid's run, the run of a value
Results = dict[str, dict[str, float | None]]  # values of the metrics, by the value of the parameter


def run(config: Grid) -> None:
    """Try every value from the command line or `mlflow run`."""
    values = _values(config)
    client = connect()
    check_experiment(client)
    origin = Origin.of(client, starting_milestone(client, config.run, config.milestone))
    training = prepare(_with(config, values[0]), origin)  # a mistake in what is asked for makes no run
    training.monitor.warn_of_few_images()
    name = f"grid over {config.over}: {training.name}"
    data = {"milestone": origin.model_id}
    with tracked_run(
        "grid", config, name, config.resume, data, check=partial(_require_parts, values=values)
    ) as tracked:
        tracked.set_tags({"mlflow.parentRunId": origin.run_id})
        results: Results = {}
        for place, value in enumerate(values, start=1):
            print(f"\n{config.over} = {value} ({place} of {len(values)})")
            history = history_of(client, _tuned(tracked, client, config, value, origin))
            results.setdefault(START, _measured(history, 0))
            results[str(value)] = _measured(history, -1)
        report = _report(config.over, results)
        if config.alpha > 0 or config.over == "alpha":
            report += f"\n\n{TRAINED_ON_IT}"
        print(f"\n{report}\n\nkept as grid.md and grid.csv in run {tracked.run_id}")
        tracked.describe(report)
        client.log_text(tracked.run_id, report + "\n", "grid.md")
        client.log_text(tracked.run_id, _csv(config.over, results), "grid.csv")


def _require_parts(tracked: TrackedRun, values: Sequence[float]) -> None:
    """UserError unless the tunings that the grid has begun can be resumed here."""
    for run_id in filter(None, (_part(tracked, value) for value in values)):
        require_checkpoints(dataclasses.replace(tracked, run_id=run_id, folder=run_folder(run_id)))


def _part(tracked: TrackedRun, value: float) -> str | None:
    """The run that tunes with a value, if it was begun; others may have written the tag."""
    run_id: str | None = tracked.client.get_run(tracked.run_id).data.tags.get(f"{PART}.{value}")
    if run_id is not None and not is_there(tracked.client, run_id):
        note(f"run {run_id}, which a tag names as the part for {value}, is not there: it is tuned again")
        return None
    return run_id


def _tuned(tracked: TrackedRun, client: MlflowClient, config: Grid, value: float, origin: Origin) -> str:
    """Tune with one value in a run below the grid's, evaluate the start and the end; the run's id.

    What was begun is gone on with, and what was done is not done again.
    """
    tag = f"{PART}.{value}"
    done = _part(tracked, value)
    one = dataclasses.replace(_with(config, value), resume=done or "auto")
    training = prepare(one, origin)
    training = dataclasses.replace(training, name=f"{config.over} = {value}: {training.name}")
    with umm_run(one, training, origin, below=tracked) as child:
        train_to_end(child, training)
        tracked.set_tags({tag: child.run_id})
        milestones = history_of(client, child.run_id).models
        size, images = training_images(client, one, origin.run_id)
        spec = dataset_spec(images, size, config.labels)
        texts = texts_of(config)
        child.log_missing_params({name: texts[name] for name in options_of(EvaluationOptions)})
        evaluate(child, spec, training.sets, config, [milestones[0], milestones[-1]], training.machine.device)
        return child.run_id


def _with(config: Grid, value: float) -> Umm:
    given = {name: getattr(config, name) for name in options_of(Umm) if name in options_of(Grid)}
    return Umm(**{**given, config.over: value})


def _values(config: Grid) -> list[float]:
    if config.variant == "continuation" or (config.over == "eps" and config.alpha == 0):
        raise ConfigError(
            f"over={config.over} is not possible with variant={config.variant} and alpha={config.alpha}: it has no "
            "part in what is tuned, and every value would give the same."
        )
    option = options_of(Umm)[config.over]
    values = config.values or DEFAULTS[config.over]
    try:
        return list(dict.fromkeys(float(option.read(str(value))) for value in values))
    except ConfigError as error:
        raise ConfigError(f"values={as_text(config.values)} is not possible: {error}") from None


def _measured(history: History, place: int) -> dict[str, float | None]:
    keys = [key for key in (CRR_ADJUSTED, CRR, *ACCURACIES) if history.has(key)]
    return {key: history.column(key)[place] for key in keys}


def _report(over: str, results: Results) -> str:
    keys = list(dict.fromkeys(key for measured in results.values() for key in measured))
    rows = [[over, *(CATALOGUE[key].name for key in keys)]]
    for value, measured in results.items():
        rows.append([value, *(_told(measured, key) for key in keys)])
    return markdown_table(rows)


def _told(measured: Mapping[str, float | None], key: str) -> str:
    value = measured.get(key)
    return "–" if value is None else CATALOGUE[key].formatted(value)


def _csv(over: str, results: Results) -> str:
    rows = [
        [value, key, number]
        for value, measured in results.items()
        for key, number in measured.items()
        if number is not None
    ]
    return as_csv([[over, "metric", "value"], *rows])
