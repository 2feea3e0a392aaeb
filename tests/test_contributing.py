"""The metric and the method that CONTRIBUTING.md adds as examples, added as it says, work everywhere."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.jobs.small import SMALL

KEY = "label_free/participation_ratio"


@pytest.fixture
def extended(tmp_path: Path) -> dict[str, str]:
    """The environment in which the package has the metric and the method."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    function, method, options, reference = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    (row,) = re.findall(r"^ {8}Metric\($.*?^ {8}\),\n", text, flags=re.DOTALL | re.MULTILINE)
    for folder in ("sslmlflow", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (path,) = re.findall(r"`(sslmlflow/metrics/unlabelled/\w+\.py)`", text)
    (tmp_path / path).write_text(function)
    catalogue = tmp_path / "sslmlflow" / "metrics" / "catalogue.py"
    insert(catalogue, r"_IN_ORDER = \(  # of Table I of the monitoring paper, then ours\n", row)
    (path,) = re.findall(r"`(sslmlflow/methods/spread\.py)`", text)
    (tmp_path / path).write_text(method)
    declaration, narrow, expected, referred = re.findall(r"^ {8}(\"spread\": .*\n)", text, flags=re.MULTILINE)
    declarations, references = "sslmlflow/config/methods.py", "tests/methods/references.py"
    for path, place, added in (
        (declarations, r"METHODS = \{\n", declaration),
        (declarations, r"@dataclass\(frozen=True\)\nclass MethodDeclaration", options),
        ("tests/methods/narrow.py", r"OPTIONS = \{\n", narrow),
        ("tests/methods/test_projections.py", r"EXPECTED: .* = \{\n", expected),
        (references, r"REFERENCES: .* = \{\n", referred),
        (references, "# By method: its loss", reference),
    ):
        insert(tmp_path / path, place, added)
    return {**os.environ, "PYTHONPATH": str(tmp_path), "SSLMLFLOW_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}


def insert(path: Path, place: str, added: str) -> None:
    """Put a line behind the opening of a table, or a definition before what stands there."""
    behind = place.endswith(r"\n")
    text, count = re.subn(
        place, lambda at: at[0] + added if behind else f"{added}\n\n{at[0]}", path.read_text(), flags=re.MULTILINE
    )
    assert count == 1, place
    path.write_text(text)


def run(extended: dict[str, str], folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "sslmlflow", *arguments]
    done = subprocess.run(command, cwd=folder, env=extended, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return " ".join(done.stdout.split())


@pytest.mark.slow
def test_the_metric_is_measured_and_offered(extended: dict[str, str], tmp_path: Path) -> None:
    z = np.random.default_rng(0).normal(size=(60, 6)) * np.arange(1, 7)
    np.save(tmp_path / "z.npy", z)
    eigenvalues = np.linalg.eigvalsh(np.cov(z.T))
    ratio = eigenvalues.sum() ** 2 / (eigenvalues**2).sum()
    assert f"participation ratio {ratio:.3f} higher {KEY}" in run(extended, tmp_path, "score", "z.npy")
    for command, option in (("report", "criterion"), ("pretrain", "stop_on"), ("tune", "objective")):
        told = run(extended, tmp_path, command, "--help")
        assert KEY in told[told.index(f"--{option} ") :].split("(default")[0]


@pytest.mark.slow
def test_the_method_trains_and_its_milestones_are_tuned(extended: dict[str, str], tmp_path: Path) -> None:
    extended["MLFLOW_TRACKING_URI"] = f"sqlite:///{tmp_path}/mlflow.db"
    told = run(extended, tmp_path, "pretrain", "--method=spread", "--projection_width=16", *SMALL, "--epochs=1")
    assert "milestone at epoch 1" in told
    assert "milestone at epoch 1" in run(extended, tmp_path, "umm", "--epochs=1", "--js_images=4", "--directions=2")


@pytest.mark.slow
def test_the_suite_of_all_methods_tries_the_method(extended: dict[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", "tests/methods", "-k", "spread"]
    done = subprocess.run(command, cwd=tmp_path, env=extended, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    for test in ("loss_is_that_of_the_equation", "gradients_reach", "resumed_after_any_step", "not_collapse", "heads"):
        assert re.search(f"PASSED .*{test}.*spread", done.stdout), done.stdout
