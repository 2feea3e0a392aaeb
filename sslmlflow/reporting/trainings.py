"""The trainings of an experiment, as MLflow lists them."""

import time
from collections.abc import Sequence
from functools import partial

from mlflow import MlflowClient
from mlflow.entities import Run

from sslmlflow.errors import UserError
from sslmlflow.reporting.history import Course, courses_of
from sslmlflow.texts import printable
from sslmlflow.tracking.notes import note
from sslmlflow.tracking.resuming import ENTRY_POINT
from sslmlflow.tracking.server import current_experiment, whereabouts, whole
from sslmlflow.tracking.stored import milestones_of_run
from sslmlflow.tracking.trained_images import images_of

TRAININGS = ("pretrain", "main")


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
