"""Entry point `report`: how far the label-free metrics can be believed, and the milestone that they choose."""

import gc
from collections.abc import Sequence
from dataclasses import replace

from mlflow import MlflowClient
from mlflow.entities import Run

from sslmlflow.config.options import as_text
from sslmlflow.config.report import Report
from sslmlflow.errors import UserError
from sslmlflow.reporting.across_models import swept_runs, tell_transfer
from sslmlflow.reporting.history import History, histories_of
from sslmlflow.reporting.report import report
from sslmlflow.reporting.trainings import training_histories
from sslmlflow.texts import printable
from sslmlflow.tracking.run import tracked_run
from sslmlflow.tracking.same_job import ENTRY_POINT
from sslmlflow.tracking.server import connect, current_experiment
from sslmlflow.tracking.stored import runs_by_id


def run(config: Report) -> None:
    """Report from the command line or `mlflow run`."""
    # Of thousands of milestones there are a million small objects, all needed to the end: by default Python's collector
    # looks through them hundreds of times, a third of the whole time.
    gc.set_threshold(200_000, 50, 50)
    client = connect()
    given = _given(client, config)
    if sweep := _sweep(given, config):
        with tracked_run("report", config, f"report on {printable(sweep.info.run_name)}") as tracked:
            tracked.set_tags({"mlflow.parentRunId": sweep.info.run_id})
            tell_transfer(tracked, histories_of(client, swept_runs(client, sweep.info.run_id)), {})
        return
    histories = _told_apart(histories_of(client, given) if given else training_histories(client))
    name = f"report on {histories[0].name}" if len(histories) == 1 else f"report on {len(histories)} runs"
    with tracked_run("report", config, name) as tracked:
        if len(histories) == 1:
            tracked.set_tags({"mlflow.parentRunId": histories[0].run_id})
        report(tracked, histories, config)


def _given(client: MlflowClient, config: Report) -> list[Run]:
    """The runs that `runs` names; none for auto."""
    return list(runs_by_id(client, config.runs or (), [current_experiment(client)]).values())


def _sweep(runs: Sequence[Run], config: Report) -> Run | None:
    """The sweep among the runs, which is to be alone."""
    kinds = {str(run.data.tags.get(ENTRY_POINT)) for run in runs}
    if "swept" in kinds:
        swept = next(run for run in runs if run.data.tags.get(ENTRY_POINT) == "swept")
        sweep = printable(swept.data.tags.get("mlflow.parentRunId", "ID of the sweep"))
        raise UserError(
            f"runs={as_text(config.runs)} holds a model of a sweep. Models are reported together, by --runs={sweep}."
        )
    if "sweep" in kinds and len(runs) > 1:
        raise UserError(
            f"runs={as_text(config.runs)} is not possible: a sweep is reported alone, by --runs={runs[0].info.run_id}."
        )
    return runs[0] if kinds == {"sweep"} else None


def _told_apart(histories: Sequence[History]) -> list[History]:
    """Give trainings of the same name their run id beside it."""
    names = [history.name for history in histories]
    return [
        replace(history, name=f"{history.name} {history.run_id[:6]}") if names.count(history.name) > 1 else history
        for history in histories
    ]
