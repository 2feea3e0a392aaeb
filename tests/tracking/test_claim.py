"""One run, several machines: at most one process works on it, and what is refused changes nothing."""

import json
import platform
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from sslmlflow.config.pretrain import Pretrain
from sslmlflow.errors import UserError
from sslmlflow.tracking import claim, liveness
from sslmlflow.tracking.liveness import HEARTBEAT, HOST, OWNER
from sslmlflow.tracking.lock import run_folder
from sslmlflow.tracking.run import tracked_run
from sslmlflow.tracking.sender import Sender
from sslmlflow.tracking.spool import Spool
from tests.conftest import NewDatabase

CONFIG = Pretrain(lr=0.1)


@pytest.fixture(scope="module")
def client(new_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowClient]:
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(new_database(tmp_path_factory.mktemp("mlflow")))
    yield MlflowClient()
    mlflow.set_tracking_uri(before)


@pytest.fixture(autouse=True)
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds are tenths; the home is that of the test."""
    monkeypatch.setenv("SSLMLFLOW_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    monkeypatch.setattr(liveness, "PAUSE_SECONDS", 0.1)
    monkeypatch.setattr(claim, "CLAIM_SECONDS", 0.2)
    monkeypatch.setattr(claim, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(claim, "FRESH_SECONDS", 0.6)
    monkeypatch.setattr(claim, "CONFIRMED_SECONDS", 0.0)


def train(resume: str = "none", **more: Any) -> str:
    with tracked_run("pretrain", CONFIG, "a name", resume, **more) as run:
        return run.run_id


def state(client: MlflowClient, run_id: str, home: Path) -> Any:
    """All that a refusal must leave as it is."""
    run = client.get_run(run_id)
    files = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    return run.info, run.data.tags, run.data.params, run.data.metrics, files


def beating(client: MlflowClient, run_id: str, **tags: str) -> threading.Event:
    """Signs of life of another machine, until the event is set."""
    ended = threading.Event()
    for key, text in {HOST: "elsewhere", OWNER: "other.1", **tags}.items():
        client.set_tag(run_id, key, text)

    def beat() -> None:
        moment = int(time.time()) - 40
        while not ended.wait(0.1):
            moment += 1
            client.set_tag(run_id, HEARTBEAT, str(moment))

    client.update_run(run_id, "RUNNING")
    client.set_tag(run_id, HEARTBEAT, str(int(time.time()) - 40))
    threading.Thread(target=beat, daemon=True).start()
    return ended


def refuse(run: Any) -> None:
    raise UserError("its checkpoints are not here")


REFUSALS: dict[str, dict[str, Any]] = {
    "what the job checks": {"check": refuse},
    "other images": {"data": {"training images": "x"}, "deciding": {"seed": "1"}},
    "another version of a rule": {"data": {"rules/views": "2"}},
}


@pytest.mark.parametrize(
    ("refusal", "place"), [*((name, "home") for name in REFUSALS), ("what the job checks", "another home")]
)
def test_a_refusal_changes_nothing(
    client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: str, place: str
) -> None:
    run_id = train()
    monkeypatch.setenv("SSLMLFLOW_HOME", str(tmp_path / place))
    before = state(client, run_id, tmp_path)
    with pytest.raises(UserError):
        train(run_id, **REFUSALS[refusal])
    assert state(client, run_id, tmp_path) == before
    assert before[0].status == "FINISHED"


def test_a_run_that_lives_elsewhere_is_refused_by_host_and_age_and_left_as_it_is(client: MlflowClient) -> None:
    run_id = train()
    ended = beating(client, run_id)
    before = client.get_run(run_id)
    with pytest.raises(
        UserError, match=rf"another process works on run {run_id}, on elsewhere \(last sign of life \d+ s"
    ):
        train(run_id)
    ended.set()
    after = client.get_run(run_id)
    assert after.info.status == "RUNNING"
    assert {**after.data.tags, HEARTBEAT: ""} == {**before.data.tags, HEARTBEAT: ""}


@pytest.mark.parametrize(
    "heartbeat",
    [str(int(time.time())), str(int(time.time()) - 1000), "9" * 11, "nan", ""],
    ids=["now", "old", "in the future", "nan", "empty"],
)
def test_a_run_whose_machine_died_is_taken_over_after_waiting(client: MlflowClient, heartbeat: str) -> None:
    """A scheduler's requeue: neither a fresh last sign of life nor one that is no time keeps it waiting for ever."""
    run_id = train()
    for key, text in {HOST: "elsewhere", OWNER: "other.1", HEARTBEAT: heartbeat}.items():
        client.set_tag(run_id, key, text)
    client.update_run(run_id, "RUNNING")
    assert train(run_id) == run_id
    run = client.get_run(run_id)
    assert (run.info.status, run.data.tags[HOST]) == ("FINISHED", platform.node())


@pytest.mark.parametrize(("tag", "text", "owner"), [(OWNER, "another.2", "another.2"), (HEARTBEAT, "1", "other.1")])
def test_of_two_that_claim_a_run_together_the_earlier_refuses(
    client: MlflowClient, tmp_path: Path, tag: str, text: str, owner: str
) -> None:
    """The other one claims it too, or works on it by then: in that case its name is put back."""

    class Meeting(MlflowClient):
        met = False

        def set_tag(self, *given: Any, **named: Any) -> None:
            super().set_tag(*given, **named)
            if not self.met:
                client.set_tag(run_id, tag, text)
            self.met = True

    run_id = train()
    client.set_tag(run_id, OWNER, "other.1")
    with pytest.raises(UserError, match="another process works on run"):
        claim.claim(Meeting(client.tracking_uri), run_id, tmp_path)
    assert client.get_run(run_id).data.tags[OWNER] == owner


def test_a_run_that_was_lost_is_sent_nothing_and_not_ended(client: MlflowClient) -> None:
    """A machine that was cut off for minutes comes back and finds that another one trains the run."""
    with tracked_run("pretrain", CONFIG, "a name") as run:
        spool = Spool(run.folder / "spool.db")
        for key, text in ((OWNER, "other.1"), (HOST, "elsewhere"), (HEARTBEAT, "99")):
            client.set_tag(run.run_id, key, text)
        spool.add_metrics({"train/loss": 1.0}, 1)
        sender = Sender(spool.path, client, run.run_id, claim=run.claim)
        while not (run.claim and run.claim.lost):
            time.sleep(0.02)
        assert not sender.close()
        with pytest.raises(UserError, match="was claimed by another process, on elsewhere"):
            run.require_claim()
    left = client.get_run(run.run_id)
    assert (left.info.status, left.data.metrics, left.data.tags[HOST]) == ("RUNNING", {}, "elsewhere")
    assert not (run.folder / "ended").exists()


def test_an_option_that_a_build_did_not_have_counts_as_its_default() -> None:
    run_id = train()
    path = run_folder(run_id) / "run.json"
    kept = json.loads(path.read_text())
    path.write_text(json.dumps({name: text for name, text in kept.items() if name not in ("eps", "width")}))
    assert train(run_id) == run_id
    path.write_text(json.dumps({name: text for name, text in kept.items() if name != "lr"}))
    with pytest.raises(UserError, match=r"lr was auto, now 0\.1"):
        train(run_id)


def test_a_rule_that_changed_is_named_also_by_auto() -> None:
    with pytest.raises(KeyboardInterrupt), tracked_run("pretrain", CONFIG, "a name", data={"images": "a"}) as run:
        raise KeyboardInterrupt
    for resume in (run.run_id, "auto"):
        changed = r"views of the held-out images \(rule views, version 1, now 2\)\. .* the build that started it"
        with pytest.raises(UserError, match=changed):
            train(resume, data={"images": "a", "rules/views": "2"})
    with pytest.raises(UserError, match=r"held-out images \(rule split, version 1, now 2\); images was a, now b"):
        train(run.run_id, data={"images": "b", "rules/split": "2"})
    assert train("auto", data={"images": "a", "rules/split": "2"}) == run.run_id, "the images are those of before"


def test_an_ordinary_start_and_resume_wait_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim, "CLAIM_SECONDS", 1000.0)
    run_id = train()
    assert train(run_id) == run_id


def test_a_name_without_a_sign_of_life_takes_no_run_away(
    client: MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = train()
    client.update_run(run_id, "RUNNING")
    client.set_tag(run_id, OWNER, "here.1")
    mine = claim.Claim(client, run_id, "here.1")
    assert mine.sign()
    client.set_tag(run_id, OWNER, "another.1")
    assert mine.confirm()
    assert client.get_run(run_id).data.tags[OWNER] == "here.1"
    assert "another.1" in capsys.readouterr().out
    client.set_tag(run_id, OWNER, "another.2")
    client.set_tag(run_id, HEARTBEAT, "99")
    assert not mine.sign()
    assert client.get_run(run_id).data.tags[HEARTBEAT] == "99"


@pytest.mark.parametrize("status", ["FINISHED", "new"])
def test_a_server_that_fails_while_a_run_is_begun_leaves_it_as_it_was(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    def fail(*given: Any, **named: Any) -> None:
        raise MlflowException("away")

    run_id = train() if status == "FINISHED" else client.create_run("0").info.run_id
    folder = run_folder(run_id)
    folder.mkdir(parents=True, exist_ok=True)
    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "log_batch", fail)
        with pytest.raises(MlflowException):
            claim.claim(client, run_id, folder)
    assert client.get_run(run_id).info.status == ("FINISHED" if status == "FINISHED" else "FAILED")
