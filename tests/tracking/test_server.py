"""What is reported of a tracking server or database that cannot be used, and of an experiment that is not there."""

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.conftest import Command

UNUSABLE = {
    "sqlite:///folder": "/folder is a folder. Set MLFLOW_TRACKING_URI to a file",
    "sqlite:///text.txt": "file is not a database",
    "sqlite:///text.txt/mlflow.db": "cannot be made",
    "foo://host": "the tracking address foo://host cannot be used",
    "postgresql://me:geheim@127.0.0.1:1/db": "database postgresql://me:***@127.0.0.1:1/db cannot be opened",
    "http://me:ge/heim@127.0.0.1:1": "invalid value for MLFLOW_TRACKING_URI: http://***@127.0.0.1:1 ",
}


def test_an_address_that_cannot_be_used_is_refused_at_once(sslmlflow: Command, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.txt").write_text("no database")
    assert sslmlflow("reap").returncode == 0  # the server of the tests is ready
    started = time.monotonic()
    for uri, said in UNUSABLE.items():
        done = sslmlflow("report", MLFLOW_TRACKING_URI=uri)
        assert done.returncode == 1
        assert said in done.stderr
        assert done.stderr.startswith("sslmlflow: ")
        assert done.stderr.count("\n") == 1
    assert time.monotonic() - started < 60, "MLflow itself tries again for minutes, each time"


@pytest.mark.parametrize("by", ["MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID", "MLFLOW_RUN_ID"])
def test_a_deleted_experiment_is_found_before_data_is_read(
    by: str, sslmlflow: Command, environment: dict[str, str], tmp_path: Path
) -> None:
    client = MlflowClient(environment["MLFLOW_TRACKING_URI"])
    experiment_id = client.create_experiment("old\n\x1b[2J", artifact_location=str(tmp_path / "a"))
    run_id = client.create_run(experiment_id).info.run_id
    client.delete_experiment(experiment_id)
    named = {"MLFLOW_EXPERIMENT_NAME": "old\n\x1b[2J", "MLFLOW_EXPERIMENT_ID": experiment_id, "MLFLOW_RUN_ID": run_id}
    for command in (["pretrain", "--dataset=folder", "--data_dir=nowhere"], ["sweep"], ["evaluate"]):
        done = sslmlflow(*command, **{by: named[by]})
        assert done.returncode == 1
        assert r"experiment old\n\x1b[2J of sqlite://" in done.stderr
        assert f"mlflow experiments restore --experiment-id {experiment_id}" in done.stderr
        assert done.stdout == ""
    client.restore_experiment(experiment_id)
    done = sslmlflow("pretrain", "--dataset=folder", "--data_dir=nowhere", **{by: named[by]})
    assert "nowhere" in done.stderr
    assert "restore" not in done.stderr


def test_an_experiment_that_never_was_is_refused(sslmlflow: Command) -> None:
    done = sslmlflow("pretrain", MLFLOW_EXPERIMENT_ID="77")
    assert done.returncode == 1
    assert "invalid value for MLFLOW_EXPERIMENT_ID: 77" in done.stderr


def test_a_database_that_another_program_holds_is_reported(sslmlflow: Command, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "other.db")) as database:
        database.execute("CREATE TABLE alembic_version (version_num VARCHAR(32))")
        database.execute("INSERT INTO alembic_version VALUES ('from another program')")
        database.commit()
    done = sslmlflow("report", MLFLOW_TRACKING_URI=f"sqlite:///{tmp_path}/other.db")
    assert done.returncode == 1
    assert "other.db cannot be opened" in done.stderr
    assert "move it away" in done.stderr
    assert os.path.getsize(tmp_path / "other.db")
