"""Which milestone a fine-tuning starts from."""

import time
from collections.abc import Sequence
from functools import partial

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, Run

from sslmlflow.errors import ConfigError, UserError
from sslmlflow.metrics.catalogue import CRR_ADJUSTED
from sslmlflow.reporting.choice import choose_milestone
from sslmlflow.reporting.history import Course, course_of, courses_of
from sslmlflow.texts import printable
from sslmlflow.tracking.notes import note
from sslmlflow.tracking.resuming import ENTRY_POINT
from sslmlflow.tracking.server import current_experiment, run_of, whereabouts, whole
from sslmlflow.tracking.stored import KIND, epoch_of, milestones_of_run, model_of
from sslmlflow.tracking.trained_images import images_of

TRAININGS = ("pretrain", "main")


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
        chosen = choose_milestone(course_of(client, run), CRR_ADJUSTED).chosen
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
    found = sorted(_runs(client, entry_points), key=_start, reverse=True)
    first = "RUNNING" if running else "FINISHED"
    for run in sorted(found, key=lambda run: run.info.status != first):
        if milestones_of_run(client, run.info.run_id) and is_readable(run):
            name, age = printable(run.info.run_name), _age(time.time() - _start(run) / 1000)
            print(f"run=auto: {name}, run {run.info.run_id}, {run.info.status}, started {age} ago")
            return run
    raise _no_milestones(client)


def training_courses(client: MlflowClient) -> list[Course]:
    """The trainings of the current experiment that have milestones, earliest first; UserError if there are none."""
    runs = sorted(_runs(client, TRAININGS), key=_start)
    courses = courses_of(client, [run for run in runs if is_readable(run)], passing_over=True)
    if not courses:
        raise _no_milestones(client)
    return courses


def _runs(client: MlflowClient, entry_points: Sequence[str]) -> list[Run]:
    experiment = [current_experiment(client)]
    return [
        run
        for entry_point in entry_points
        for run in whole(partial(client.search_runs, experiment, f"tags.`{ENTRY_POINT}` = '{entry_point}'"))
    ]


def is_readable(run: Run) -> bool:
    """Whether the run has the parameters of a training: others may have written its tags."""
    try:
        images_of(run)
    except UserError as error:
        note(f"{error} It is left out")
        return False
    return True


def _start(run: Run) -> int:
    return int(run.info.start_time or 0)


def _no_milestones(client: MlflowClient) -> UserError:
    return UserError(
        f"there are no milestones in {whereabouts(client)} yet. Run pretrain first, or name a run; "
        "a sweep is reported by --runs=ID of its run."
    )


def _age(seconds: float) -> str:
    """A duration in its largest unit.

    >>> _age(90), _age(7200), _age(200_000)
    ('2 min', '2 h', '2 days')
    """
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 2 * 86400 else f"{seconds / 86400:.0f} days"
