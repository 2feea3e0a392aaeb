"""The tracking server, and what is asked of it everywhere."""

import logging
import os
import re
from collections.abc import Callable
from typing import TypeVar

import mlflow
from alembic.util import CommandError
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.store.entities import PagedList
from sqlalchemy.exc import SQLAlchemyError

from sslmlflow.errors import UserError, in_short
from sslmlflow.tracking.database import make_database

T = TypeVar("T")
# What the answer to a run id is that others wrote: no such run, no such id, a run of others.
ABSENT = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "PERMISSION_DENIED"}


def connect() -> MlflowClient:
    """A client of the current tracking server, which has answered once.

    It does not wait for minutes when the server is gone, as MLflow's default would.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # It prints the traceback of what it raises, too, and that is told in one sentence here.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    try:
        make_database(mlflow.get_tracking_uri())
        client = MlflowClient()
        client.search_experiments(max_results=1)
    except (SQLAlchemyError, CommandError) as error:
        full = "disk is full" in str(error)
        half = (
            " It may be half made, by MLflow or another program that was killed: move it away, and a new one is made."
        )
        raise UserError(
            f"the tracking database {address()} cannot be opened: {in_short(error)}{'' if full else half}"
        ) from error
    except MlflowException as error:
        raise UserError(
            f"no answer from the tracking server {address()}: {error.message} "
            "Start the server, or set MLFLOW_TRACKING_URI to one that runs."
        ) from error
    return client


def address() -> str:
    """The tracking URI as messages may show it, without a password."""
    return re.sub(r"(//[^:/@]*):[^@/]*@", r"\1:***@", mlflow.get_tracking_uri())


def current_experiment(client: MlflowClient) -> str:
    """The experiment that MLFLOW_EXPERIMENT_ID or MLFLOW_EXPERIMENT_NAME names, else the default one."""
    if given := os.environ.get("MLFLOW_EXPERIMENT_ID"):
        return given
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME")
    if not name:
        return "0"
    found = client.get_experiment_by_name(name)
    return str(found.experiment_id) if found else str(client.create_experiment(name))


def whereabouts(client: MlflowClient) -> str:
    """The current experiment and server, for messages: both are often not those that were meant."""
    name = client.get_experiment(current_experiment(client)).name
    return f"experiment {name} of {address()}"


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
            f"run {run_id} is not on the tracking server {address()} ({error.message}). "
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
