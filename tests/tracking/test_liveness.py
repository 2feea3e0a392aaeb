"""Signs of life go on through whatever the tracking server does, and end with the work."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from sslmlflow.tracking import liveness
from sslmlflow.tracking.claim import Claim
from sslmlflow.tracking.liveness import HEARTBEAT, HOST, reap, running, signs_of_life
from tests.conftest import NewDatabase


def waited_for(condition: Callable[[], bool]) -> bool:
    patience = time.monotonic() + 20
    while not condition() and time.monotonic() < patience:
        time.sleep(0.02)
    return condition()


def test_a_heartbeat_outlives_an_outage_and_ends_with_the_work(
    new_database: NewDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness, "PAUSE_SECONDS", 0.05)
    client = MlflowClient(new_database(tmp_path))
    run_id = client.create_run("0").info.run_id
    refused = 0

    class Away(MlflowClient):
        def set_tag(self, *given: Any, **named: Any) -> None:
            nonlocal refused
            if client.get_run(run_id).data.tags.get(HEARTBEAT) and refused < 3:
                refused += 1
                raise ConnectionError("away")
            super().set_tag(*given, **named)

    away = Away(client.tracking_uri)
    with signs_of_life(away, run_id, Claim(away, run_id, "here.1").sign):
        assert waited_for(lambda: refused == 3)
        client.set_tag(run_id, HEARTBEAT, "1")
        assert waited_for(lambda: client.get_run(run_id).data.tags[HEARTBEAT] != "1")
        client.set_terminated(run_id, "KILLED")  # by another machine, which had not heard of it for long
        assert waited_for(lambda: client.get_run(run_id).info.status == "RUNNING")
    client.set_terminated(run_id, "FINISHED")
    time.sleep(0.2)
    client.set_tag(run_id, HEARTBEAT, "1")
    time.sleep(0.3)
    assert client.get_run(run_id).data.tags[HEARTBEAT] == "1"
    assert client.get_run(run_id).info.status == "FINISHED"


def test_a_run_that_ended_since_it_was_searched_for_stays_as_it_ended(
    tmp_path: Path, new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSLMLFLOW_HOME", str(tmp_path / "home"))
    client = MlflowClient(new_database(tmp_path))
    run_id = client.create_run("0", tags={HEARTBEAT: "0", HOST: "another machine"}).info.run_id
    found = running(client)
    client.set_terminated(run_id, "FINISHED")
    assert not reap(client, found, silent_seconds=60).marked
    assert client.get_run(run_id).info.status == "FINISHED"
