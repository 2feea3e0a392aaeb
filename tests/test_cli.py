"""The command line as a user meets it: help, refusals, exit codes."""

import dataclasses
import re
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from sslmlflow import cli
from sslmlflow.config import COMMANDS, EXAMPLES
from sslmlflow.config.pretrain import Pretrain
from sslmlflow.config.score import Score
from sslmlflow.errors import ConfigError, UserError


def replace_job(monkeypatch: pytest.MonkeyPatch, job: Callable[[object], None]) -> None:
    for command in ("pretrain", "score"):
        monkeypatch.setitem(sys.modules, f"sslmlflow.jobs.{command}", types.SimpleNamespace(run=job))


def test_mistakes_are_refused_at_once_and_nothing_is_written(environment: dict[str, str], tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    given = ["pretrain", "--method=simclrr", "--lr=nan", "--epoch=3", "--batch_size", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "sslmlflow", *given],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("sslmlflow: ")
    assert "method=simclrr is not possible. Did you mean simclr? Allowed: simclr, simsiam, moco-v2, " in done.stderr
    assert "lr=nan is not possible. Allowed: auto, or a number above 0." in done.stderr
    assert "batch_size=1 is not possible. Allowed: auto, or a whole number of at least 2." in done.stderr
    assert "epoch is not a parameter here. Did you mean epochs?" in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["pretrain", "--encoder=resnet81"],
            ["invalid value for encoder: resnet81 (must be resnet18", "Did you mean resnet18?"],
        ),
        (["pretrain", "--method_options=temprature=1"], ["temprature", "Did you mean temperature?"]),
        (["pretrain", "--method_options=temperature"], ["temperature has no value. Write name=value,name=value."]),
        (["pretrain", "--method=moco-v2", "--method_options=queue_size=0"], ["queue_size=0", "at least 1"]),
        (["pretrain", "--device=cuda:77"], ["device=cuda:77", "Allowed: auto, cpu"]),
    ],
)
def test_what_only_the_job_can_judge_is_refused_before_any_data_is_made(
    arguments: list[str],
    said: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.setenv("SSLMLFLOW_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    told = capsys.readouterr()
    assert all(words in told.err for words in said)
    assert told.out == ""
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "COMMAND"),
        (["pretrian"], "sslmlflow: pretrian is not a command. Did you mean pretrain? Allowed: "),
        (["pretrain", "--epochs"], "--epochs: expected one argument"),
        (["pretrain", "epochs=3"], "epochs=3 is not a parameter. Write --name=value."),
        (["pretrain", "--ep=3"], "ep is not a parameter here. Did you mean eps?"),
        (["evaluate", "--epochs", "3"], "epochs is not a parameter here."),
        (["evaluate", "--dataset=fodler"], "Did you mean folder?"),
    ],
)
def test_what_cannot_be_read_at_all_ends_with_2(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    replace_job(monkeypatch, lambda config: pytest.fail("the job was started"))
    try:
        code = cli.main(arguments)
    except SystemExit as end:
        code = end.code
    assert code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("entry_point", COMMANDS)
def test_help_names_every_parameter_and_its_default(entry_point: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main([entry_point, "--help"])
    assert end.value.code == 0
    told = " ".join(capsys.readouterr().out.split())
    for field in dataclasses.fields(COMMANDS[entry_point]):
        assert re.search(rf"--{field.name} (VALUE|\[VALUE\]) ", told)
    assert told.count("(default: ") == len(dataclasses.fields(COMMANDS[entry_point]))
    assert f"Example: sslmlflow {entry_point}" in told


@pytest.mark.parametrize("command", COMMANDS)
def test_the_example_of_the_help_can_be_given(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    received: list[object] = []
    monkeypatch.setitem(sys.modules, f"sslmlflow.jobs.{command}", types.SimpleNamespace(run=received.append))
    assert cli.main([command, *EXAMPLES[command].split()]) == 0, capsys.readouterr().err
    assert received != [COMMANDS[command]()] or command == "sync"


def test_a_methods_own_settings_are_options_too(monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[object] = []
    replace_job(monkeypatch, received.append)
    assert cli.main(["pretrain", "--queue_size=64", "--method_options=temperature=0.2", "--method=moco-v2"]) == 0
    assert cli.main(["pretrain", "--temperature", "0.3"]) == 0
    assert received == [
        Pretrain(method="moco-v2", method_options="temperature=0.2,queue_size=64"),
        Pretrain(method_options="temperature=0.3"),
    ]


def test_an_earlier_spelling_is_taken_with_a_note(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    received: list[object] = []
    replace_job(monkeypatch, received.append)
    assert cli.main(["pretrain", "--keep=best:2", "--resume=no"]) == 0
    assert received == [Pretrain(keep=2)]
    assert "note: keep=best:2 is spelled keep=2 now\n" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--help"], ["pretrain", "--help"], ["pretrain", "--method=simclrr"]])
def test_help_and_refusals_wait_for_no_heavy_import(arguments: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "sslmlflow", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    imported = {line.split("|")[-1].strip().split(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert "argparse" in imported
    assert not imported & {"torch", "torchvision", "mlflow", "numpy", "lightly", "pandas", "matplotlib"}


def test_a_switch_needs_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[object] = []
    replace_job(monkeypatch, received.append)
    for switch in (["--log"], ["--log=true"], ["--log", "true"], ["--log=false"]):
        assert cli.main(["score", "z.npy", *switch]) == 0
    on = Score(embeddings="z.npy", log=True)
    assert received == [on, on, on, Score(embeddings="z.npy")]


def test_the_job_is_handed_what_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[object] = []
    replace_job(monkeypatch, received.append)
    assert cli.main(["pretrain", "--lr=0.1", "--data_dir", "/a b", "--epochs=auto", "--method_options=a=1,b=2"]) == 0
    assert received == [Pretrain(lr=0.1, data_dir="/a b", epochs=None, method_options="a=1,b=2")]


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UserError("The disk is full."), 1, "sslmlflow: The disk is full.\n"),
        (ConfigError("x=1 is not possible."), 2, "sslmlflow: x=1 is not possible.\n"),
        (KeyboardInterrupt(), 130, "--resume=auto"),
    ],
)
def test_what_stops_a_job_becomes_one_message_and_an_exit_code(
    error: BaseException, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def job(config: object) -> None:
        raise error

    replace_job(monkeypatch, job)
    assert cli.main(["pretrain"]) == code
    assert said in capsys.readouterr().err


def test_a_mistake_of_ours_is_not_hidden_but_secrets_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def job(config: object) -> None:
        raise ZeroDivisionError("http://me:ge/h@im@host and 1 / 0")

    replace_job(monkeypatch, job)
    assert cli.main(["pretrain"]) == 1
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert "ZeroDivisionError: http://***@host and 1 / 0" in said
