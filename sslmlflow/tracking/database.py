"""A new MLflow database that is either whole or not there."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from mlflow import MlflowClient
from mlflow.store.db.db_types import DATABASE_ENGINES
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, OperationalError

from sslmlflow.errors import UserError


def make_database(tracking_uri: str) -> None:
    """Make the SQLite file of a tracking URI if it does not exist; other URIs are left alone.

    MLflow makes one in many small steps. A kill between them, or a second process that starts meanwhile, would
    leave a file that nobody can open: it is made beside its place, by one process at a time, and renamed.
    """
    if not tracking_uri.startswith("sqlite:"):
        return
    url = make_url(tracking_uri)
    if not url.database or url.database == ":memory:":
        return
    path = Path(url.database).absolute()
    if path.is_dir():
        raise UserError(f"the tracking database {path} is a folder. Set MLFLOW_TRACKING_URI to a file: sqlite:///FILE.")
    if path.exists():
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = os.open(path.parent, os.O_RDONLY)
    except OSError as error:
        raise UserError(
            f"the tracking database {path} cannot be made: {error.strerror}. Set MLFLOW_TRACKING_URI to another place."
        ) from error
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        if not path.exists():
            _make_whole(path)
    finally:
        os.close(folder)


def check_database(tracking_uri: str) -> None:
    """Open the database of a tracking URI once, if it is one: SQLAlchemyError or ImportError where that fails.

    MLflow itself tries again for minutes, whatever the reason.
    """
    with suppress(ArgumentError):  # not the address of a database
        url = make_url(tracking_uri)
        if url.get_backend_name() not in DATABASE_ENGINES:
            return
        engine = create_engine(url, poolclass=NullPool)
        try:
            with engine.connect() as connection:
                connection.execute(text("PRAGMA schema_version" if url.get_backend_name() == "sqlite" else "SELECT 1"))
        except OperationalError as error:
            if "locked" not in str(error):  # a job writes to it: MLflow waits for that
                raise


def _make_whole(path: Path) -> None:
    part = path.with_name(f"{path.name}.part")
    for left in (part, part.with_name(f"{part.name}-journal")):  # of one that was killed here
        left.unlink(missing_ok=True)
    MlflowClient(f"sqlite:///{part}").search_experiments(max_results=1)
    os.replace(part, path)
