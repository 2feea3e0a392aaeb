"""The thread that trains asks the tracking server nothing: whatever the server does, a step takes no longer."""

import inspect
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient

from sslmlflow.cli import main
from sslmlflow.tracking.sender import Sender
from sslmlflow.tracking.spool import Spool
from tests.conftest import NewDatabase
from tests.jobs.small import SMALL


@pytest.mark.slow
def test_between_its_first_step_and_its_end_the_training_thread_makes_no_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new_database: NewDatabase
) -> None:
    calls: list[tuple[str, str]] = []

    def listen(owner: type, name: str, call: Callable[..., Any]) -> None:
        def called(*arguments: Any, **named: Any) -> Any:
            calls.append((threading.current_thread().name, name))
            return call(*arguments, **named)

        monkeypatch.setattr(owner, name, called)

    for name, call in inspect.getmembers(MlflowClient, inspect.isfunction):
        if not name.startswith("_"):
            listen(MlflowClient, name, call)
    listen(Spool, "add_metrics", Spool.add_metrics)
    listen(Sender, "close", Sender.close)
    monkeypatch.setenv("SSLMLFLOW_HOME", str(tmp_path / "home"))
    mlflow.set_tracking_uri(new_database(tmp_path))
    assert main(["pretrain", *SMALL, "--epochs=6", "--milestone_every=2", "--keep=1"]) == 0
    own = threading.current_thread().name
    trained = calls[calls.index((own, "add_metrics")) : calls.index((own, "close"))]
    assert {name for thread, name in trained if thread == own} == {"add_metrics"}
    sent = {name for thread, name in calls if thread == "sslmlflow-sender"}
    assert {"log_batch", "create_logged_model", "delete_logged_model"} <= sent, "who sent?"
