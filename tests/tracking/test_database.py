"""A new database is whole or not there, whoever starts at once and whenever one is killed."""

import random
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient

from sslmlflow.tracking.database import make_database


@pytest.fixture
def environment(environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """Without the database that other tests find in it."""
    (tmp_path / "mlflow.db").unlink()
    return environment


START = """
import sys
from sslmlflow.tracking.server import connect
print("ready", flush=True)
sys.stdin.readline()
client = connect()
print(client.create_run("0").info.run_id)
"""


def _process(environment: dict[str, str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", START], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def _ready(process: "subprocess.Popen[str]") -> None:
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == "ready\n"
    process.stdin.write("\n")
    process.stdin.flush()


@pytest.mark.slow
def test_processes_that_start_at_once_share_one_new_database(environment: dict[str, str], tmp_path: Path) -> None:
    processes = [_process(environment) for _ in range(4)]
    for process in processes:
        _ready(process)
    made = {process.communicate(timeout=120)[0].strip() for process in processes}
    found = {run.info.run_id for run in MlflowClient(environment["MLFLOW_TRACKING_URI"]).search_runs(["0"])}
    assert len(made) == 4
    assert found == made
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("mlflow")) == ["mlflow.db"]


@pytest.mark.slow
def test_a_kill_while_the_database_is_made_leaves_none_or_a_whole_one(
    environment: dict[str, str], tmp_path: Path
) -> None:
    moments = random.Random(0)
    half_made = 0
    for _ in range(3):
        process = _process(environment)
        _ready(process)
        while not (tmp_path / "mlflow.db.part").exists():
            time.sleep(0.001)
        time.sleep(moments.uniform(0.0, 0.7))
        process.kill()
        process.communicate(timeout=30)
        half_made += (tmp_path / "mlflow.db.part").exists()
        if (tmp_path / "mlflow.db").exists():
            with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
                assert database.execute("SELECT name FROM experiments").fetchall() == [("Default",)]
            (tmp_path / "mlflow.db").unlink()
    assert half_made >= 1, "no kill fell into the making"

    process = _process(environment)
    _ready(process)
    run_id = process.communicate(timeout=120)[0].strip()
    assert MlflowClient(environment["MLFLOW_TRACKING_URI"]).get_run(run_id).info.run_id == run_id


@pytest.mark.parametrize("uri", ["sqlite://", "sqlite:///:memory:", "http://127.0.0.1:1", "postgresql://h/db"])
def test_other_stores_are_left_alone(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_database(uri)
    assert not list(tmp_path.iterdir())
