"""The MLproject file: what MLflow reads, and that no value given to it can run as a command."""

import dataclasses
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow.projects._project_spec import load_project

from sslmlflow.config import ENTRY_POINTS
from sslmlflow.config.data import DATASET_NAMES
from sslmlflow.config.mlproject import mlproject
from sslmlflow.config.pretrain import SCHEDULE_NAMES
from sslmlflow.config.umm import DENSITIES, HYPERGRADIENTS
from sslmlflow.data import DATASETS
from sslmlflow.training import schedules
from sslmlflow.training.schedules import Schedule
from sslmlflow.umm import density, hypergradient

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    parsed = yaml.safe_load((ROOT / "MLproject").read_text())
    assert isinstance(parsed, dict)
    return parsed


def test_the_file_is_what_the_configuration_generates() -> None:
    assert (ROOT / "MLproject").read_text() == mlproject(), "run `make MLproject`"


def test_mlflow_can_take_no_other_entry_for_it() -> None:
    # MLflow takes the first entry of this name in any case, be it a folder.
    assert [name for name in os.listdir(ROOT) if name.lower() == "mlproject"] == ["MLproject"]


def test_it_names_an_environment_that_exists(project: dict[str, Any]) -> None:
    assert (ROOT / project["conda_env"]).is_file()


def test_every_parameter_is_declared_with_its_default(project: dict[str, Any]) -> None:
    assert list(project["entry_points"]) == list(ENTRY_POINTS)
    for name, config in ENTRY_POINTS.items():
        declared = project["entry_points"][name]["parameters"]
        expected = {}
        for field in dataclasses.fields(config):
            special = {None: field.metadata["null"], True: "true", False: "false"}
            given = field.default
            expected[field.name] = special[given] if given is None or isinstance(given, bool) else str(given)
        assert {parameter: about["default"] for parameter, about in declared.items()} == expected
        # MLflow would make an absolute path of a `path`, and of an empty one a temporary folder.
        assert {about["type"] for about in declared.values()} <= {"string", "int", "float"}


def test_every_parameter_is_handed_over_once(project: dict[str, Any]) -> None:
    for name, entry_point in project["entry_points"].items():
        arguments = [f"--{parameter}={{{parameter}}}" for parameter in entry_point["parameters"]]
        assert entry_point["command"].split() == ["python", "-m", "sslmlflow", name, *arguments]


def test_no_placeholder_stands_within_quotes(project: dict[str, Any]) -> None:
    for entry_point in project["entry_points"].values():
        # MLflow quotes the values; quotes around them would undo that.
        assert not re.search(r"""["'`][^\n]*\{\w+\}|\{\w+\}[^\n]*["'`]""", entry_point["command"])
        assert not set(entry_point["command"]) & set("\"'`$;&|<>\\")


def test_the_choices_are_what_there_is() -> None:
    assert list(DATASET_NAMES) == list(DATASETS)
    assert SCHEDULE_NAMES == schedules.NAMES
    assert DENSITIES == density.ESTIMATORS
    assert HYPERGRADIENTS == hypergradient.NAMES
    assert all(Schedule(name, 1.0, total_steps=10).at(5)[0] > 0 for name in SCHEDULE_NAMES)


COMMANDS = [
    "touch X",
    "$(touch X)",
    "`touch X`",
    "; touch X",
    "& touch X",
    "&& touch X",
    "| touch X",
    "|| touch X",
    "\ntouch X\n",
    "\r\ntouch X",
    "> X",
    "<(touch X)",
    "$(>X)",
    "${Y:=$(touch X)}",
    "$'\\ntouch X'",
    "; {touch,X}",
    ";\ttouch${IFS}X",
    "%0atouch X",
    "; eval 'touch X'",
    "$(: $(touch X))",
]
HOSTILE = [
    *COMMANDS,
    *(f"'{command}'" for command in COMMANDS),
    *(f"'{command};'" for command in COMMANDS),
    *(f'"{command}"' for command in COMMANDS),
    *(f"x'; {command}; '" for command in ("touch X", "> X")),
    *(f'x"; {command}; "' for command in ("touch X", "> X")),
    "'",
    '"',
    "\\",
    "''",
    "\\'; touch X; \\'",
    "'\"'\"'; touch X; '",
    "`",
    "$",
    "!!",
    "*",
    "~",
    "#",
    "--",
    "{lr}",
    "{0}",
    "{}",
    "a b\tc",
    "-x",
    "é\u202e",
    "%s%n",
]


def run_as_mlflow_does(commands: list[str], folder: Path) -> list[list[str]]:
    """What `python` was given by each command, run in `folder` where `python` does nothing else."""
    programs = folder / "programs"
    programs.mkdir()
    seen = folder / "seen"
    stub = programs / "python"
    # An argument may hold a newline, but no NUL: one NUL after each, two after the last.
    stub.write_text(f"#!/bin/sh\nprintf '%s\\0' \"$@\" '' >> {shlex.quote(str(seen))}\n")
    stub.chmod(0o755)
    work = folder / "work"
    work.mkdir()
    subprocess.run(
        ["bash", "-c", 'while IFS= read -r -d "" command; do bash -c "$command"; done'],
        input="".join(f"{command}\0" for command in commands).encode(),
        cwd=work,
        env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert not list(work.iterdir()), "a value ran as a command"
    return [call.split("\0") for call in seen.read_bytes().decode().split("\0\0")[:-1]]


@pytest.mark.parametrize(("entry_point", "name"), [("pretrain", "data_dir"), ("main", "lr"), ("evaluate", "run")])
def test_a_hostile_value_arrives_as_it_is_and_runs_nothing(entry_point: str, name: str, tmp_path: Path) -> None:
    entry = load_project(str(ROOT)).get_entry_point(entry_point)
    commands = [entry.compute_command({name: value}, str(tmp_path)) for value in HOSTILE]
    calls = run_as_mlflow_does(commands, tmp_path)
    assert [next(word for word in call if word.startswith(f"--{name}=")) for call in calls] == [
        f"--{name}={value}" for value in HOSTILE
    ]
    assert {len(call) for call in calls} == {3 + len(entry.parameters)}


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_hostile_values_of_all_parameters_together_and_of_undeclared_ones_run_nothing(
    entry_point: str, tmp_path: Path
) -> None:
    entry = load_project(str(ROOT)).get_entry_point(entry_point)
    together = [entry.compute_command(dict.fromkeys(entry.parameters, value), str(tmp_path)) for value in HOSTILE]
    undeclared = [entry.compute_command({value: value}, str(tmp_path)) for value in HOSTILE]
    calls = run_as_mlflow_does([*together, *undeclared], tmp_path)
    assert len(calls) == 2 * len(HOSTILE)
    for value, call in zip(HOSTILE, calls, strict=False):
        assert call[3:] == [f"--{name}={value}" for name in entry.parameters]
