"""Fixtures: every test has its own SSLMLFLOW_HOME and its own tracking database."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

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
def sslmlflow(environment: dict[str, str], tmp_path: Path) -> Command:
    """Run the command line as its user would."""

    def run(*arguments: str, **more: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "sslmlflow", *arguments],
            cwd=tmp_path,
            env={**environment, **more},
            capture_output=True,
            text=True,
            timeout=600,
        )

    return run
