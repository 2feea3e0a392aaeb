"""Which run and which milestone are meant, where a fine-tuning or an evaluation starts."""

import time
from collections.abc import Sequence

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, Run

from sslmlflow.errors import ConfigError, UserError
from sslmlflow.metrics.catalogue import CRR_ADJUSTED
from sslmlflow.reporting.history import history_of
from sslmlflow.reporting.milestone_choice import choose_milestone
from sslmlflow.reporting.trainings import TRAININGS, is_readable, no_milestones, runs_of, start_of
from sslmlflow.texts import printable
from sslmlflow.tracking.server import run_of
from sslmlflow.tracking.stored import KIND, epoch_of, milestones_of_run, model_of


def starting_milestone(client: MlflowClient, run: str | None, which: str) -> LoggedModel:
    """The milestone that `which` names (last, best, init, an epoch or a model id), of `run` or the latest training.

    `best` has the highest adjusted coding rate reduction: no label is asked. ConfigError or UserError if there is none.
    """
    if which.startswith("m-"):
        model = model_of(client, which)
        if model.tags.get("kind") != KIND:
            raise UserError(f"{which} is a model, but not a milestone of sslmlflow.")
        if run and model.source_run_id != run:
            raise UserError(f"milestone {which} is of run {model.source_run_id}, not of {run}: leave one of them out.")
        return model
    if not (which in ("last", "best", "init") or which.isdecimal()):
        raise ConfigError(
            f"milestone={which} is not possible. Allowed: last, best, init, an epoch, or a model id (m-…)."
        )
    run = str((run_of(client, run) if run else latest_run(client, TRAININGS)).info.run_id)
    milestones = {epoch_of(model): model for model in milestones_of_run(client, run)}
    if not milestones:
        raise UserError(f"run {run} has no milestones (yet). Name a run of pretrain or main.")
    epoch = _epoch(client, run, which, max(milestones))
    if epoch not in milestones:
        raise UserError(f"run {run} has no milestone of epoch {epoch}. It has: {', '.join(map(str, milestones))}.")
    print(f"from epoch {epoch} of {printable(client.get_run(run).info.run_name)}, run {run}")
    return milestones[epoch]


def _epoch(client: MlflowClient, run: str, which: str, last: int) -> int:
    if which == "best":
        chosen = choose_milestone(history_of(client, run), CRR_ADJUSTED).chosen
        if chosen is None:
            raise UserError(
                f"no milestone of run {run} has an adjusted coding rate reduction to choose by (the tags of the "
                "milestones say why). Give --milestone=last, or an epoch."
            )
        return chosen
    return {"last": last, "init": 0}[which] if not which.isdecimal() else int(which)


def latest_run(client: MlflowClient, entry_points: Sequence[str], running: bool = False) -> Run:
    """The run that `run=auto` means, which is printed: the latest finished one with milestones, else the latest of all.

    With `running` the latest that is still running comes first.
    """
    found = sorted(runs_of(client, entry_points), key=start_of, reverse=True)
    first = "RUNNING" if running else "FINISHED"
    for run in sorted(found, key=lambda run: run.info.status != first):
        if milestones_of_run(client, run.info.run_id) and is_readable(run):
            name, age = printable(run.info.run_name), _age(time.time() - start_of(run) / 1000)
            print(f"run=auto: {name}, run {run.info.run_id}, {run.info.status}, started {age} ago")
            return run
    raise no_milestones(client)


def _age(seconds: float) -> str:
    """A duration in its largest unit.

    >>> _age(90), _age(7200), _age(200_000)
    ('2 min', '2 h', '2 days')
    """
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 2 * 86400 else f"{seconds / 86400:.0f} days"
