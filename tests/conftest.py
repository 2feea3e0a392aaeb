"""Fixtures: every test has its own SSLMLFLOW_HOME and its own tracking database."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import mlflow
import pytest

from sslmlflow import data
from sslmlflow.data import digit_scenes
from sslmlflow.tracking.database import make_database
from tests.fork_server import ForkServer

ROOT = Path(__file__).parents[1]
Command = Callable[..., "subprocess.CompletedProcess[str]"]
NewDatabase = Callable[[Path], str]


@pytest.fixture(scope="session")
def new_database(tmp_path_factory: pytest.TempPathFactory) -> NewDatabase:
    """Put an empty database into a folder and tell its address: MLflow needs over a second to make one."""
    made = tmp_path_factory.mktemp("database") / "mlflow.db"
    make_database(f"sqlite:///{made}")

    def place(folder: Path) -> str:
        path = shutil.copy(made, folder / "mlflow.db")
        with closing(sqlite3.connect(path)) as database, database:
            # MLflow writes down where it was started; here a command is started in the folder.
            database.execute("UPDATE experiments SET artifact_location = ?", (f"{folder}/mlruns/0",))
        return f"sqlite:///{path}"

    return place


@pytest.fixture
def environment(tmp_path: Path, new_database: NewDatabase) -> dict[str, str]:
    """The environment of a subprocess: a fresh home and a fresh database."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "SSLMLFLOW_"))}
    return {
        **clean,
        "PATH": f"{Path(sys.executable).parent}:{clean['PATH']}",
        "SSLMLFLOW_HOME": str(tmp_path / "home"),
        "MLFLOW_TRACKING_URI": new_database(tmp_path),
        "GIT_PYTHON_REFRESH": "quiet",
        "PYTHONUNBUFFERED": "1",
        # Tests train tiny encoders; two spinning threads on a busy machine are many times slower than one.
        "OMP_NUM_THREADS": "1",
    }


@pytest.fixture
def labels_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, new_database: NewDatabase) -> str:
    """In this process every way to a label of `digit-scenes` raises; the address of a fresh database."""

    def refuse(*arguments: object) -> None:
        raise AssertionError("a label was asked for")

    monkeypatch.setattr(digit_scenes, "open_labels", refuse)
    monkeypatch.setitem(data.DATASETS, "digit-scenes", data.Dataset(digit_scenes.open_images, refuse))
    monkeypatch.setenv("SSLMLFLOW_HOME", str(tmp_path / "home"))
    uri = new_database(tmp_path)
    mlflow.set_tracking_uri(uri)
    return uri


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """SIGINT interrupts: tests that run in the background of a script are started with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler, "the handler is not as it was"


@pytest.fixture(scope="session")
def fork_server() -> Iterator[ForkServer]:
    """Starts the command line without the ten seconds until it is ready."""
    server = ForkServer({**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}, ROOT)
    yield server
    server.close()


@pytest.fixture
def sslmlflow(environment: dict[str, str], tmp_path: Path, fork_server: ForkServer) -> Command:
    """Run the command line as its user would, in a process of its own."""

    def run(*arguments: str, **more: str) -> "subprocess.CompletedProcess[str]":
        with tempfile.TemporaryDirectory() as folder:
            files = {name: f"{folder}/{name}" for name in ("stdout", "stderr")}
            fork_server.start(arguments=arguments, environment={**environment, **more}, folder=str(tmp_path), **files)
            status = os.waitstatus_to_exitcode(fork_server.wait())
            said = {name: Path(file).read_text() for name, file in files.items()}
        return subprocess.CompletedProcess(arguments, status, **said)

    return run


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let each of two workers begin with slow tests: xdist gives each a half of the list, and the last two of a worker
    cannot be taken over by the other, which would wait for them for minutes."""
    slow = [item for item in items if item.get_closest_marker("slow")]
    quick = [item for item in items if not item.get_closest_marker("slow")]
    items[:] = slow[::2] + quick[::2] + slow[1::2] + quick[1::2]
