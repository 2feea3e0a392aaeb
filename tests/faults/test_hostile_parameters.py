"""Texts that mean something to a shell, to Python, SQL or a file system, in every parameter of every command."""

import os
from pathlib import Path

import pytest

from sslmlflow.cli import main
from sslmlflow.config import COMMANDS
from sslmlflow.config.options import options_of
from tests.faults.conftest import Told

VALUES = [
    "x'; touch it-ran; echo '",
    "$(touch it-ran)",
    "`touch it-ran`",
    "__import__('os').system('touch it-ran')",
    "{run.__class__}",
    "' OR '1'='1",
    "../../../etc/passwd",
    "sqlite:///x.db?%s%n",
    "-",
    "\u202e\x01\n",
]


# What keeps a command from getting to work where the value is none that it minds.
OTHERS = {"sweep": ["--dataset=folder", "--data_dir=nowhere"], "score": ["--embeddings=nowhere.npy"]}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_parameter(
    marker: Path, command: str, capsys: pytest.CaptureFixture[str], tell: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each value is refused in words, or taken for what it is: a name of nothing that is there."""
    monkeypatch.setattr(os, "system", lambda line: pytest.fail(f"a shell was asked to run {line}"))
    names = list(options_of(COMMANDS[command]))
    for name in names:
        for value in VALUES:
            code = main([command, *OTHERS.get(command, []), f"--{name}={value}"])
            said = capsys.readouterr()
            assert code in (1, 2), f"--{name}={value!r}: {said}"
            assert said.err.startswith("sslmlflow: "), f"--{name}={value!r}: {said}"
            assert not marker.exists(), f"--{name}={value!r} ran"
    tell(f"T8 {command}: {len(names)} parameters, {len(VALUES)} hostile values each: 0 ran")
