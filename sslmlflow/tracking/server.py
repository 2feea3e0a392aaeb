"""The tracking server, and what is asked of it everywhere."""

import logging
import os
import re
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import urlsplit

import mlflow
from alembic.util import CommandError
from mlflow import MlflowClient
from mlflow.entities import Experiment, Run
from mlflow.exceptions import MlflowException
from mlflow.store.entities import PagedList
from sqlalchemy.exc import SQLAlchemyError

from sslmlflow.errors import UserError, in_short, refused
from sslmlflow.texts import printable, without_secrets
from sslmlflow.tracking.database import check_database, make_database

T = TypeVar("T")
# What the answer to a run id is that others wrote: no such run, no such id, a run of others.
ABSENT = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "PERMISSION_DENIED"}
ADDRESSES = "Set MLFLOW_TRACKING_URI to sqlite:///FILE, or to the http address of a server that runs."


def connect() -> MlflowClient:
    """A client of the current tracking server, which has answered once.

    It does not wait for minutes when the server is gone, as MLflow's default would.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # It prints the traceback of what it raises, too, and that is reported in one sentence here.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    uri = mlflow.get_tracking_uri()
    _check_login(uri)
    try:
        make_database(uri)
        check_database(uri)
        client = MlflowClient()
        client.search_experiments(max_results=1)
    except (SQLAlchemyError, CommandError, ImportError) as error:
        raise UserError(f"the tracking database {address()} cannot be opened: {_closed(error)}") from error
    except MlflowException as error:
        why = in_short(error)
        if refused(error):
            raise UserError(f"no access to {address()}: {why}.") from error
        if urlsplit(uri).scheme not in ("http", "https"):
            raise UserError(f"the tracking address {address()} cannot be used: {why} {ADDRESSES}") from error
        raise UserError(
            f"no answer from the tracking server {address()}: {why} "
            "Start the server, or set MLFLOW_TRACKING_URI to one that runs."
        ) from error
    return client


def _check_login(uri: str) -> None:
    """UserError for a password with a `/`, `?` or `#` as it is: a part of it would be looked up as the host."""
    found = re.fullmatch(r"https?://([^/?#]*)[/?#].*@.*", uri, re.IGNORECASE | re.DOTALL)
    if found and "@" not in found[1] and not re.fullmatch(r"[^:]*(:\d+)?", found[1]):
        raise UserError(
            f"invalid value for MLFLOW_TRACKING_URI: {address()} (a password in it must have %2F for /, %3F for ? and "
            "%23 for #). Or give it by MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."
        )


def _closed(error: Exception) -> str:
    """Why a database cannot be opened, and what to do."""
    why = in_short(error)
    if "disk is full" in why:
        return why
    if "locked" in why:
        return f"{why}. Other jobs write to it: try again, or let many jobs use `mlflow server`."
    if not mlflow.get_tracking_uri().startswith("sqlite"):
        return f"{why}. Start the database server, check user and password in the address, or install its driver."
    why += ". It may be no database, or half made by MLflow or another program that was killed"
    return f"{why}: move it away, and a new one is made."


def address() -> str:
    """The tracking URI as messages may show it."""
    return without_secrets(printable(mlflow.get_tracking_uri()))


def check_experiment(client: MlflowClient) -> Experiment | None:
    """The experiment of the run that `mlflow run` made, or the one that the environment names, or the default one.

    None if one is named that is not there yet. UserError if it was deleted, or if there is none with this id.
    """
    adopted = os.environ.get("MLFLOW_RUN_ID")
    number = run_of(client, adopted).info.experiment_id if adopted else os.environ.get("MLFLOW_EXPERIMENT_ID")
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME")
    try:
        found = client.get_experiment_by_name(name) if name and not number else client.get_experiment(number or "0")
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise UserError(
            f"invalid value for MLFLOW_EXPERIMENT_ID: {number or '0'} (must be an experiment of {address()}). "
            "Set MLFLOW_EXPERIMENT_NAME, and the experiment is made if it is not there."
        ) from error
    if found:
        _check_not_deleted(found)
    return found


def _check_not_deleted(experiment: Experiment) -> None:
    if experiment.lifecycle_stage != "active":
        raise UserError(
            f"experiment {printable(experiment.name)} of {address()} was deleted. Restore it by `mlflow experiments "
            f"restore --experiment-id {experiment.experiment_id}`, or set MLFLOW_EXPERIMENT_NAME to another one."
        )


def current_experiment(client: MlflowClient) -> str:
    """The experiment that the environment names, made if it is not there; see `check_experiment`."""
    found = check_experiment(client)
    return str(found.experiment_id) if found else str(client.create_experiment(os.environ["MLFLOW_EXPERIMENT_NAME"]))


def whereabouts(client: MlflowClient) -> str:
    """The current experiment and server, for messages: both are often not those that were meant."""
    name = client.get_experiment(current_experiment(client)).name
    return f"experiment {printable(name)} of {address()}"


def whole(search: Callable[..., PagedList[T]]) -> list[T]:
    """All that a search finds, page by page."""
    page = search()
    found = list(page)
    while page.token:
        page = search(page_token=page.token)
        found += page
    return found


def run_of(client: MlflowClient, run_id: str) -> Run:
    """The run with this id; UserError if the tracking server has none."""
    try:
        return client.get_run(run_id)
    except MlflowException as error:
        raise UserError(
            f"run {printable(run_id)} is not on the tracking server {address()} ({in_short(error)}). "
            "Look its id up in the MLflow UI."
        ) from error


def is_there(client: MlflowClient, run_id: str | None) -> bool:
    """Whether the tracking server has this run, not deleted, and shows it to this user."""
    try:
        return run_id is not None and client.get_run(run_id).info.lifecycle_stage == "active"
    except MlflowException as error:
        if error.error_code not in ABSENT:
            raise
        return False
