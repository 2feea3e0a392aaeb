"""Trainings to be disturbed; and the result of each fault is printed at the end, by `make long` above all."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest

from tests.conftest import NewDatabase
from tests.faults.chain import Calm, Chain, NewChain
from tests.faults.size import LONG
from tests.fork_server import ForkServer
from tests.jobs.small import Left

Told = Callable[[str], None]


@pytest.fixture
def new_chain(fork_server: ForkServer, environment: dict[str, str], tmp_path: Path) -> NewChain:
    """Make a training with its own SSLMLFLOW_HOME and database, in a folder of its own."""
    made = 0
    for name in ("SSLMLFLOW_HOME", "MLFLOW_TRACKING_URI"):
        del environment[name]

    def make(*arguments: str, folder: Path | None = None, **more: str) -> Chain:
        nonlocal made
        made += 1
        given = [*arguments, "--resume=auto"]
        place = (folder or tmp_path) / f"chain-{made}"
        return Chain(fork_server, {**environment, **more}, place, given, tmp_path / f"said-{made}.txt")

    return make


@pytest.fixture(scope="session")
def calm_trainings() -> dict[tuple[str, ...], Left]:
    """What was left by those that several tests compare with."""
    return {}


@pytest.fixture
def calm(
    new_chain: NewChain, calm_trainings: dict[tuple[str, ...], Left], tmp_path_factory: pytest.TempPathFactory
) -> Calm:
    """Train undisturbed, once for all tests."""

    def left(*arguments: str) -> Left:
        if arguments not in calm_trainings:
            chain = new_chain(*arguments, folder=tmp_path_factory.mktemp("calm"))
            assert chain.run() == 0, chain.said()
            calm_trainings[arguments] = chain.left()
        return calm_trainings[arguments]

    return left


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new_database: NewDatabase) -> Path:
    """A file that is there after hostile code ran. Everything that is kept is kept in the folder of the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SSLMLFLOW_HOME", str(tmp_path / "home"))
    mlflow.set_tracking_uri(new_database(tmp_path))
    return tmp_path / "it-ran"


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Told:
    """Say in one sentence what was tried and what was lost."""

    def told(sentence: str) -> None:
        record_property("fault", sentence)

    return told


def pytest_terminal_summary(terminalreporter: Any) -> None:
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])]
    told = [text for report in reports if report.when == "call" for name, text in report.user_properties]
    if told:
        terminalreporter.section(f"what was tried, and what was lost ({'long' if LONG else 'short'})")
        for sentence in sorted(map(str, told)):
            terminalreporter.line(sentence)
