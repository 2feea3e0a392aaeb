"""Fixtures: every test has its own SSLMLFLOW_HOME and its own tracking database."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow
import pytest

from sslmlflow import data
from sslmlflow.data import digit_scenes
from tests.fork_server import ForkServer

ROOT = Path(__file__).parents[1]
Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The environment of a subprocess: a fresh home, and a fresh database unless told otherwise."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "SSLMLFLOW_"))}
    return {
        **clean,
        "PATH": f"{Path(sys.executable).parent}:{clean['PATH']}",
        "SSLMLFLOW_HOME": str(tmp_path / "home"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db",
        "GIT_PYTHON_REFRESH": "quiet",
        "PYTHONUNBUFFERED": "1",
        # Tests train tiny encoders; two spinning threads on a busy machine are many times slower than one.
        "OMP_NUM_THREADS": "1",
    }


@pytest.fixture
def labels_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """In this process every way to a label of `digit-scenes` raises; the address of a fresh database."""

    def refuse(*arguments: object) -> None:
        raise AssertionError("a label was asked for")

    monkeypatch.setattr(digit_scenes, "open_labels", refuse)
    monkeypatch.setitem(data.DATASETS, "digit-scenes", data.Dataset(digit_scenes.open_images, refuse))
    monkeypatch.setenv("SSLMLFLOW_HOME", str(tmp_path / "home"))
    uri = f"sqlite:///{tmp_path}/mlflow.db"
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
    """Starts the command line without the ten seconds of imports."""
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
