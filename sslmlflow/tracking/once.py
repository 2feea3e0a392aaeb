"""A run that is made once, whatever becomes of the server's reply or of this process."""

import uuid
from collections.abc import Mapping
from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from sslmlflow.files import private_folder, write_atomically
from sslmlflow.home import home
from sslmlflow.texts import printable
from sslmlflow.tracking.notes import note

KEY = "sslmlflow.key"  # tag


def new_key(training: str) -> str:
    """A key that stays on disk: a run that was made just before a kill is found again by it."""
    key = uuid.uuid4().hex
    file = key_file(training)
    private_folder(file.parent)
    write_atomically(file, key.encode())
    return key


def key_file(training: str) -> Path:
    """Where the key of the last run of a training is kept."""
    return home() / "runs" / f"{training}.key"


def made_once(client: MlflowClient, experiment_id: str, tags: Mapping[str, str], name: str) -> str:
    """Make a run. Where a reply is lost on its way, it may be there already, or even twice: its key finds it."""
    lost: MlflowException | None = None
    try:
        client.create_run(experiment_id, tags=dict(tags), run_name=printable(name))
    except MlflowException as error:
        lost = error
    found = client.search_runs([experiment_id], f"tags.`{KEY}` = '{tags[KEY]}'", order_by=["start_time ASC"])
    if not found:
        raise lost or MlflowException("a run that was made is not there")
    for twin in found[1:]:
        try:
            client.delete_run(twin.info.run_id)
        except MlflowException as error:
            note(f"run {twin.info.run_id} was made twice and cannot be deleted: {error.message}")
    return str(found[0].info.run_id)
