"""Milestones in the model registry, under an alias."""

from collections.abc import Mapping

from mlflow import MlflowClient
from mlflow.entities import LoggedModel
from mlflow.exceptions import MlflowException

from sslmlflow.errors import in_short
from sslmlflow.metrics.catalogue import LEAST_IMAGES
from sslmlflow.milestone.file_names import ABOUT_FILE
from sslmlflow.texts import printable
from sslmlflow.tracking.stored import about_of

ALIAS = "label-free-best"
TRAINED_ON_IT = "UMM raises the coding rate reduction itself: along a tuning, more is no sign of a better encoder."


def _held_out_images(model: LoggedModel) -> int | None:
    """How many images the criterion of a milestone was measured on."""
    try:
        return int(about_of(model)["monitor"]["images"])
    except (MlflowException, OSError, ValueError, KeyError, TypeError):
        return None


def register_model(client: MlflowClient, model: LoggedModel, alias: str, tags: Mapping[str, str]) -> str:
    """Register a milestone as `sslmlflow-<experiment>` under an alias; what was done, in words.

    Nothing is registered that was measured on few held-out images. What was registered before does not take the alias
    back from a later version of another run (tag `run_id`).
    """
    if (images := _held_out_images(model)) is None:
        return f"Not registered: the {ABOUT_FILE} of {model.model_id} cannot be read."
    if images < LEAST_IMAGES:
        return f"Not registered: it was measured on {images} held-out images, fewer than {LEAST_IMAGES}."
    try:
        experiment = client.get_experiment(client.get_run(str(model.source_run_id)).info.experiment_id)
        name = "sslmlflow-" + "".join("_" if letter in "/:'\"" else letter for letter in experiment.name)
        version = _version_of(client, name, model)
        held = client.get_registered_model(name).aliases.get(alias)
        holder = client.get_model_version(name, held) if held else None
        other = holder is not None and holder.tags.get("run_id") != tags["run_id"]
        if holder and other and int(holder.version) > int(version):
            return (
                f"Registered before as {printable(name)}, version {version}. The alias {alias} is at version "
                f"{holder.version}, of run {printable(holder.tags.get('run_id'))}, and stays there."
            )
        client.set_registered_model_alias(name, alias, version)
        for key, value in tags.items():
            client.set_model_version_tag(name, version, key, value)
    except MlflowException as error:
        return f"Not registered: the model registry refused ({in_short(error)})"
    text = f"Registered as {printable(name)}, version {version}, alias {alias}."
    if holder and other:
        text += f" The alias was at version {holder.version}, of run {printable(holder.tags.get('run_id'))}."
    return text


def _version_of(client: MlflowClient, name: str, model: LoggedModel) -> str:
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    for version in client.search_model_versions(f"name = '{name}'"):
        if version.tags.get("model_id") == model.model_id:
            return str(version.version)
    source, tags = f"models:/{model.model_id}", {"model_id": model.model_id}
    made = client.create_model_version(name, source, model.source_run_id, tags=tags, model_id=model.model_id)
    return str(made.version)
