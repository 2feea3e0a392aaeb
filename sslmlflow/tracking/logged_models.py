"""Milestones in MLflow: each a LoggedModel, with its files, its metrics and its epoch."""

import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlparse

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus, Metric
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from sslmlflow.errors import UserError, in_short
from sslmlflow.milestone.description import MilestoneFileError
from sslmlflow.milestone.file_names import ABOUT_FILE
from sslmlflow.milestone.milestone import Milestone, read_milestone
from sslmlflow.tracking.notes import note
from sslmlflow.tracking.stored import KIND, epoch_of, model_of

KEY = "sslmlflow.key"


def send_milestone(client: MlflowClient, run_id: str, epoch: int, folder: Path) -> str:
    """Log the milestone in `folder` as a LoggedModel of the run and return its id.

    Repeating it after a lost reply or a kill goes on with the model that is already there; FileNotFoundError if that
    is not whole and the files are gone.
    """
    model = _made_once(client, run_id, epoch, folder / ABOUT_FILE)
    if model.status != LoggedModelStatus.READY:
        if not (folder / ABOUT_FILE).exists():  # over HTTP MLflow uploads a folder that is not there as an empty one
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder / ABOUT_FILE))
        client.log_model_artifacts(model.model_id, str(folder))
        client.finalize_logged_model(model.model_id, "READY")
    outputs = client.get_run(run_id).outputs
    known = {output.model_id for output in outputs.model_outputs} if outputs else set()
    if model.model_id not in known:
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=epoch)])
    return model.model_id


def _made_once(client: MlflowClient, run_id: str, epoch: int, about: Path) -> LoggedModel:
    """The model of a milestone; where a reply is lost on its way, it may be there already, or even twice."""
    experiment_id = client.get_run(run_id).info.experiment_id
    key = f"{run_id}:{epoch}"

    def found() -> list[LoggedModel]:
        models = client.search_logged_models([experiment_id], f"tags.`{KEY}` = '{key}'")
        return [model for model in models if model.source_run_id == run_id]  # others may write the same tag

    if not found():
        tags = json.loads(about.read_text()).get("tags", {})
        client.create_logged_model(
            experiment_id,
            name=f"epoch-{epoch:04d}",
            source_run_id=run_id,
            model_type="ssl-encoder",
            params={"epoch": str(epoch)},
            tags={"kind": KIND, KEY: key, **tags},
        )
    model, *twins = sorted(found(), key=lambda m: (m.status != LoggedModelStatus.READY, m.creation_timestamp))
    for twin in twins:
        try:
            client.delete_logged_model(twin.model_id)
        except MlflowException as error:
            note(f"milestone {twin.model_id} was made twice and cannot be deleted: {error.message}")
    return model


def log_missing_metrics(
    client: MlflowClient,
    run_id: str,
    model: LoggedModel,
    values: Mapping[str, float],
    dataset: tuple[str | None, str | None] = (None, None),
) -> None:
    """Log what the run has not yet said of a milestone, in this order; `dataset` is name and digest of the images.

    A job that was killed and goes on says nothing twice; seconds, for one, would differ.
    """
    name, digest = dataset
    now = client.get_logged_model(model.model_id)
    known = {metric.key for metric in now.metrics or [] if (metric.run_id, metric.dataset_digest) == (run_id, digest)}
    metrics = [
        Metric(key, value, model.creation_timestamp, epoch_of(model), model.model_id, name, digest)
        for key, value in values.items()
        if key not in known
    ]
    client.log_batch(run_id, metrics=metrics)


def load_milestone(model_id: str) -> Milestone:
    """The milestone that MLflow holds under `model_id` (from the current tracking server).

    The encoder is in eval mode on the CPU. UserError if there is no such milestone, or not yet.
    """
    model = model_of(MlflowClient(), model_id)
    if model.tags.get("kind") != KIND:
        raise UserError(f"{model_id} is a model, but not a milestone of sslmlflow (its tag kind is not {KIND}).")
    if model.status != LoggedModelStatus.READY:
        raise UserError(f"milestone {model_id} is not whole (yet): its status is {model.status}. Try again later.")
    with TemporaryDirectory() as copies:  # of a remote artifact; local ones are read where they lie
        local = urlparse(model.artifact_location).scheme in ("", "file")
        folder = Path(download_artifacts(model.artifact_location, dst_path=None if local else copies))
        try:
            return read_milestone(folder)
        except MilestoneFileError as error:
            raise UserError(f"the files of milestone {model_id} cannot be read as those of one: {error}.") from error
        except OSError as error:
            raise UserError(f"the files of milestone {model_id} cannot be read: {in_short(error)}") from error


def drop_milestone(client: MlflowClient, model_id: str) -> None:
    """Delete a milestone and its files, unless it is registered; one that is deleted already, or by others, is done."""
    try:
        model = client.get_logged_model(model_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return
    if _is_registered(client, model):
        return
    # The files first: of a model that is deleted nobody knows any more where they are.
    get_artifact_repository(model.artifact_location).delete_artifacts()  # type: ignore[no-untyped-call]
    client.delete_logged_model(model_id)


def _is_registered(client: MlflowClient, model: LoggedModel) -> bool:
    """Whether the model registry has a version of it, by whatever way that came there."""
    if "mlflow.modelVersions" in model.tags:
        return True
    places = f"models:/{model.model_id}", model.artifact_location
    known = [f"tags.model_id = '{model.model_id}'", *(f"source_path = '{place}'" for place in places)]
    return any(client.search_model_versions(filter_string) for filter_string in known)
