"""What is written for this user alone."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from sslmlflow.files import private_database, private_folder, write_atomically
from tests.fork_server import ForkServer
from tests.jobs.small import SMALL


@pytest.fixture(params=[0o000, 0o022, 0o027], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("umask")
def test_what_is_made_is_private_and_what_was_there_is_left_alone(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o755)
    database = private_database(private_folder(shared / "a" / "b") / "studies.db")
    write_atomically(shared / "a" / "file", b"x")
    assert [_mode(path) for path in (shared / "a", shared / "a" / "b", database, shared / "a" / "file")] == [
        *(0o700, 0o700, 0o600, 0o600)
    ]
    private_folder(shared)
    assert _mode(shared) == 0o755
    database.chmod(0o660)
    private_database(database)
    assert _mode(database) == 0o660


@pytest.mark.slow
def test_all_that_a_training_leaves_at_home_is_private_and_its_artifacts_are_not(
    fork_server: ForkServer, environment: dict[str, str], tmp_path: Path
) -> None:
    said = tmp_path / "said"
    fork_server.start(
        arguments=["pretrain", *SMALL, "--epochs=2"],
        environment=environment,
        folder=str(tmp_path),
        stdout=str(said),
        stderr=str(said),
        umask=0o022,
    )
    assert fork_server.wait() == 0, said.read_text()
    home = tmp_path / "home"
    paths = [home, *home.rglob("*")]
    assert {path.name for path in paths} >= {"runs", "spool.db", "run.json", "lock", "trained"}
    assert any(path.suffix == ".key" for path in paths)
    readable = {str(path): oct(_mode(path)) for path in paths if _mode(path) != (0o700 if path.is_dir() else 0o600)}
    assert not readable
    kept = list((tmp_path / "mlruns").rglob("encoder.safetensors"))
    assert kept
    assert {_mode(path) for path in kept} == {0o644}, "what is in the store is shared as MLflow shares it"
