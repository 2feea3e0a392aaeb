"""The trainings of an experiment, as MLflow lists them."""

from collections.abc import Sequence
from functools import partial

from mlflow import MlflowClient
from mlflow.entities import Run

from sslmlflow.errors import UserError
from sslmlflow.reporting.history import History, histories_of
from sslmlflow.tracking.notes import note
from sslmlflow.tracking.same_job import ENTRY_POINT
from sslmlflow.tracking.server import current_experiment, whereabouts, whole
from sslmlflow.tracking.trained_images import images_of

TRAININGS = ("pretrain", "main")


def training_histories(client: MlflowClient) -> list[History]:
    """The trainings of the current experiment that have milestones, earliest first; UserError if there are none."""
    runs = sorted(runs_of(client, TRAININGS), key=start_of)
    histories = histories_of(client, [run for run in runs if is_readable(run)], passing_over=True)
    if not histories:
        raise no_milestones(client)
    return histories


def runs_of(client: MlflowClient, entry_points: Sequence[str]) -> list[Run]:
    experiment = [current_experiment(client)]
    return [
        run
        for entry_point in entry_points
        for run in whole(partial(client.search_runs, experiment, f"tags.`{ENTRY_POINT}` = '{entry_point}'"))
    ]


def is_readable(run: Run) -> bool:
    """Whether the run has the parameters of a training: others may have written its tags."""
    try:
        images_of(run.info.run_id, run.data.params)
    except UserError as error:
        note(f"{error} It is left out")
        return False
    return True


def start_of(run: Run) -> int:
    return int(run.info.start_time or 0)


def no_milestones(client: MlflowClient) -> UserError:
    return UserError(
        f"there are no milestones in {whereabouts(client)} yet. Run pretrain first, or name a run; "
        "a sweep is reported by --runs=ID of its run."
    )
