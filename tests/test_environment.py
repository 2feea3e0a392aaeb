"""What the command line sets before it loads anything: how threads wait, and where libraries write without a home."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sslmlflow.environment import DOWNLOADED, WAITING, WRITTEN
from tests.conftest import ROOT, NewDatabase
from tests.jobs.small import SMALL

NOBODY = "65534"
# As root's Python may lie where others cannot read, the user may read everything, but write nothing of others.
AS_NOBODY = [
    *("setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"),
    *("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"),
]
# A job that shows what its libraries would find when they are loaded.
SHOW = """
import os, sys, types
from sslmlflow.cli import main
job = types.SimpleNamespace(run=lambda config: print(*(os.environ.get(name) for name in sys.argv[1:]), sep="\\n"))
sys.modules["sslmlflow.jobs.score"] = job
sys.exit(main(["score", "z.npy"]))
"""


def run(command: list[str], folder: Path, environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def shown(environment: dict[str, str], folder: Path, *names: str, user: tuple[str, ...] = ()) -> list[str]:
    """What these variables are while a job is loaded."""
    done = run([*user, sys.executable, "-c", SHOW, *names], folder, environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture
def plain(environment: dict[str, str]) -> dict[str, str]:
    """An environment in which the user has set none of it."""
    ours = (*WAITING, *WRITTEN, *DOWNLOADED, "XDG_CACHE_HOME", "XDG_CONFIG_HOME")
    return {"PYTHONPATH": str(ROOT)} | {name: value for name, value in environment.items() if name not in ours}


@pytest.fixture
def nobody(plain: dict[str, str], new_database: NewDatabase) -> Iterator[dict[str, str]]:
    """The environment of a user who has no home, but a folder of their own, in which PWD lies."""
    if os.getuid() != 0 or not shutil.which("setpriv") or subprocess.run([*AS_NOBODY, "true"], check=False).returncode:
        pytest.skip("needs root and setpriv, to become another user")
    with tempfile.TemporaryDirectory() as folder:  # pytest's own cannot be entered by others
        own = Path(folder)
        address = new_database(own)
        for path in (own, own / "mlflow.db"):
            os.chown(path, int(NOBODY), int(NOBODY))
        home = {"HOME": "/nonexistent", "SSLMLFLOW_HOME": str(own / "home"), "PWD": folder}
        yield plain | home | {"MLFLOW_TRACKING_URI": address}


@pytest.mark.slow
def test_threads_wait_without_spinning_from_the_first_library_on(plain: dict[str, str], tmp_path: Path) -> None:
    loading = SHOW.replace("print(", "__import__('torch') and print(")
    done = run([sys.executable, "-c", loading], tmp_path, plain | {"OMP_DISPLAY_ENV": "true"})
    assert done.returncode == 0, done.stderr
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in done.stderr, "what OpenMP read when torch loaded it"


@pytest.mark.parametrize("own", [{"OMP_WAIT_POLICY": "active"}, {"GOMP_SPINCOUNT": "1000"}, {"KMP_BLOCKTIME": "200"}])
def test_what_the_user_has_set_is_left(own: dict[str, str], plain: dict[str, str], tmp_path: Path) -> None:
    assert shown(plain | own, tmp_path, *WAITING) == [own.get(name, "None") for name in WAITING]


def test_importing_the_package_sets_nothing(plain: dict[str, str], tmp_path: Path) -> None:
    code = "import os; before = dict(os.environ); import sslmlflow.cli, sslmlflow.environment; "
    done = run([sys.executable, "-c", code + "assert dict(os.environ) == before"], tmp_path, plain)
    assert done.returncode == 0, done.stderr


def test_with_a_home_the_libraries_keep_their_places(plain: dict[str, str], tmp_path: Path) -> None:
    home = tmp_path / "user"
    home.mkdir()
    assert set(shown(plain | {"HOME": str(home)}, tmp_path, *WRITTEN, *DOWNLOADED)) == {"None"}


def test_where_the_home_is_read_only_what_is_written_lies_in_sslmlflow_home(
    nobody: dict[str, str], tmp_path: Path
) -> None:
    weights = tmp_path / "user" / ".cache" / "torch"
    weights.mkdir(parents=True)
    given = nobody | {"HOME": str(tmp_path / "user"), "MPLCONFIGDIR": "/mine"}
    found = shown(given, tmp_path, *WRITTEN, *DOWNLOADED, user=tuple(AS_NOBODY))
    places = dict(zip((*WRITTEN, *DOWNLOADED), found, strict=True))
    assert places.pop("MPLCONFIGDIR") == "/mine", "what the user has set is left"
    assert places.pop("TORCH_HOME") == "None", "weights that are there are still found"
    assert all(Path(place).is_dir() and nobody["SSLMLFLOW_HOME"] in place for place in places.values())


@pytest.mark.parametrize("given", [{}, {"SSLMLFLOW_HOME": "/nonexistent/home"}, {"SSLMLFLOW_HOME": "/"}])
def test_without_any_place_to_write_one_sentence_names_the_way(
    given: dict[str, str], nobody: dict[str, str], tmp_path: Path
) -> None:
    homeless = {name: value for name, value in nobody.items() if name != "SSLMLFLOW_HOME"} | given
    done = run([*AS_NOBODY, sys.executable, "-m", "sslmlflow", "pretrain"], tmp_path, homeless)
    assert done.returncode == 1
    assert done.stderr.endswith("Set SSLMLFLOW_HOME to a folder that you can write.\n")
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stdout == ""


@pytest.mark.slow
def test_a_user_without_a_home_trains_evaluates_and_reports(nobody: dict[str, str]) -> None:
    training = ["main", *SMALL, "--epochs=1", "--probe=plain"]
    done = run([*AS_NOBODY, sys.executable, "-m", "sslmlflow", *training], Path(nobody["PWD"]), nobody)
    assert done.returncode == 0, done.stderr
    assert "entropy H(Z3)" in done.stdout, "UMAP was compiled"
    assert list(Path(nobody["SSLMLFLOW_HOME"], "compiled", "numba").rglob("*.nbi"))
    assert "Traceback" not in done.stderr
    assert "is not a writable directory" not in done.stderr, "matplotlib has a place"
