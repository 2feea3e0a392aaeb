"""From the spool to a real MLflow: every point once, in its order, whatever fails on the way."""

import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from sslmlflow.runs.retention import after_sending
from sslmlflow.tracking import sender
from sslmlflow.tracking.sender import Sender
from sslmlflow.tracking.spool import Spool, left_in
from sslmlflow.tracking.stored import epoch_of
from tests.tracking.conftest import EXPERIMENT

STEPS = range(1, 601)  # with two metrics each, more than one batch
VALUES: dict[str, Callable[[int], float]] = {
    "train/loss": lambda step: (-1) ** step * 10.0 ** (step - 300),  # sorted neither way, and of every size
    "train/lr": lambda step: 0.1 + 0.2 * step,
}
MEASURED = {0: {"crr": 0.1 + 0.2, "rankme": 3.0}, 20: {"crr": -1e-300, "rankme": 2.0 / 3}}


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Spool]:
    monkeypatch.setattr(sender, "PAUSE_SECONDS", 0.05)
    opened = Spool(tmp_path / "spool.db")
    yield opened
    opened.close()


class Faulty(MlflowClient):
    """A client to whom something happens before or after every batch."""

    def __init__(self, before: Callable[[], None] = lambda: None, after: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self._before, self._after = before, after

    def log_batch(self, *arguments: Any, **more: Any) -> None:
        self._before()
        super().log_batch(*arguments, **more)
        self._after()


def fill(spool: Spool) -> None:
    """What a training says, with a milestone before its first step and one amid the others."""
    for step in [0, *STEPS]:
        if step:
            spool.add_metrics({key: value(step) for key, value in VALUES.items()}, step)
        folder = spool.path.with_name(f"epoch-{step}")
        if step in MEASURED and not spool.has_milestone(step):
            folder.mkdir()
            (folder / "milestone.json").write_text("{}")
            spool.add_milestone(step, folder, MEASURED[step])


def wait_until_drained(spool: Spool) -> None:
    patience = time.monotonic() + 60
    while spool.count_unsent():
        assert time.monotonic() < patience
        time.sleep(0.01)


def check_all_there_once(client: MlflowClient, run_id: str, spool: Spool) -> None:
    expected = {key: [(step, value(step)) for step in STEPS] for key, value in VALUES.items()}
    expected |= {key: [(epoch, values[key]) for epoch, values in MEASURED.items()] for key in MEASURED[0]}
    for key, points in expected.items():
        arrived = sorted((m.timestamp, m.step, m.value) for m in client.get_metric_history(run_id, key))
        assert [(step, value) for _, step, value in arrived] == points
    models = client.search_logged_models([EXPERIMENT], f"source_run_id = '{run_id}'")
    measured = sorted((epoch_of(model), sorted((m.key, m.value) for m in model.metrics or [])) for model in models)
    assert measured == [(epoch, sorted(values.items())) for epoch, values in MEASURED.items()]
    assert not list(spool.path.parent.glob("epoch-*")), "milestones that MLflow has still take up room here"


@pytest.mark.parametrize("number", [1, 2, 3], ids=["first", "second", "a milestone's"])
def test_points_whose_reply_was_lost_are_there_once_with_the_time_when_they_were_kept(
    client: MlflowClient, run_id: str, spool: Spool, number: int
) -> None:
    replies = iter([*["given"] * (number - 1), "lost"])

    def lose_one() -> None:
        if next(replies, "given") == "lost":
            raise MlflowException("the connection broke")

    fill(spool)
    with closing(sqlite3.connect(spool.path)) as database:
        kept = {
            (key, step): moment for key, step, moment in database.execute("SELECT key, step, timestamp FROM metrics")
        }
    sending = Sender(spool.path, Faulty(after=lose_one), run_id)
    wait_until_drained(spool)
    assert sending.close()
    assert not list(replies), "no reply was lost"
    check_all_there_once(client, run_id, spool)
    arrived = [m for key in {key for key, _ in kept} for m in client.get_metric_history(run_id, key)]
    assert {(m.key, m.step): m.timestamp for m in arrived} == kept


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("call", ["Spool.metrics_sent", "Spool.milestone_sent", "shutil.rmtree"])
def test_what_arrived_right_before_a_kill_is_there_once(
    client: MlflowClient, run_id: str, spool: Spool, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise SystemExit  # ends the thread

    fill(spool)
    with monkeypatch.context() as patch:
        patch.setattr(f"sslmlflow.tracking.sender.{call}", killed)
        assert not Sender(spool.path, MlflowClient(), run_id).close()
    assert client.get_run(run_id).data.metrics, "nothing had arrived"
    fill(spool)  # the training that goes on says its last steps again
    assert Sender(spool.path, MlflowClient(), run_id).close()
    check_all_there_once(client, run_id, spool)


def test_a_milestone_that_arrived_needs_its_files_no_more(
    client: MlflowClient, run_id: str, spool: Spool, tmp_path: Path
) -> None:
    """As after a power failure that forgot what was kept last."""
    fill(spool)
    assert Sender(spool.path, MlflowClient(), run_id).close()
    with sqlite3.connect(spool.path) as forgetting:
        forgetting.execute("UPDATE milestones SET model_id = NULL")
    assert spool.count_unsent() == len(MEASURED)
    assert Sender(spool.path, MlflowClient(), run_id).close()
    check_all_there_once(client, run_id, spool)


def test_a_milestone_whose_files_somebody_removed_is_told_and_keeps_nothing_else_back(
    client: MlflowClient, run_id: str, spool: Spool, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(spool)
    shutil.rmtree(spool.path.with_name("epoch-0"))
    assert not Sender(spool.path, MlflowClient(), run_id).close(patience_seconds=2)
    assert "epoch-0/milestone.json" in capsys.readouterr().err
    assert spool.count_unsent() == 1 + len(MEASURED[0])
    (model,) = client.search_logged_models([EXPERIMENT], f"source_run_id = '{run_id}'")
    assert epoch_of(model) == 20
    assert {metric.key: metric.value for metric in model.metrics or []} == MEASURED[20]


def test_not_all_is_done_before_the_best_is_told(
    client: MlflowClient, run_id: str, spool: Spool, capsys: pytest.CaptureFixture[str]
) -> None:
    """The outage begins after the last point."""
    told: list[str] = []

    def fail_at_the_best() -> None:
        if not left_in(spool.path):
            told.append("refused")
            raise MlflowException("connection refused")

    folder = spool.path.with_name("epoch-0")
    folder.mkdir()
    (folder / "milestone.json").write_text("{}")
    spool.add_milestone(0, folder, {"label_free/crr": 1.0})
    faulty = Faulty(before=fail_at_the_best)
    assert not Sender(spool.path, faulty, run_id, after_sending(faulty, run_id)).close(patience_seconds=3)
    assert told
    assert "was not told which are the best" in capsys.readouterr().err
    assert Sender(spool.path, client, run_id, after_sending(client, run_id)).close()
    assert client.get_run(run_id).data.metrics["best/label_free/crr"] == 1.0


def test_an_outage_is_waited_out(
    client: MlflowClient, run_id: str, spool: Spool, capsys: pytest.CaptureFixture[str]
) -> None:
    up, refused = threading.Event(), threading.Semaphore(0)

    def refuse() -> None:
        if not up.is_set():
            refused.release()
            raise MlflowException("connection refused")

    spool.add_metrics({"train/loss": VALUES["train/loss"](1)}, step=1)
    sending = Sender(spool.path, Faulty(before=refuse), run_id)
    for _ in range(3):
        assert refused.acquire(timeout=30)
    fill(spool)  # the training goes on meanwhile
    up.set()
    wait_until_drained(spool)
    assert sending.close()
    check_all_there_once(client, run_id, spool)
    assert capsys.readouterr().err.count("connection refused") == 1


@pytest.mark.parametrize("hangs", [False, True], ids=["refuses", "hangs"])
def test_what_is_left_when_the_server_stays_away_is_said_and_kept(
    client: MlflowClient, run_id: str, spool: Spool, hangs: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    over = threading.Event()

    def fail() -> None:
        if hangs:
            over.wait(60)
        raise MlflowException("connection refused")

    fill(spool)
    left = spool.count_unsent()
    assert not Sender(spool.path, Faulty(before=fail), run_id).close(patience_seconds=0.5)
    said = capsys.readouterr().err
    for part in (
        f"{left} metric points and milestones could not be sent",
        str(spool.path),
        f"sslmlflow sync --run={run_id}",
    ):
        assert part in said
    assert spool.count_unsent() == left
    over.set()
    assert Sender(spool.path, MlflowClient(), run_id).close()
    check_all_there_once(client, run_id, spool)


def test_a_connection_that_breaks_at_the_very_end_is_tried_again(
    client: MlflowClient, run_id: str, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last points of a training need no better luck than the others: `close` has patience."""
    breaks = threading.Event()

    def break_once() -> None:
        if breaks.is_set():
            breaks.clear()
            raise MlflowException("the connection broke")

    monkeypatch.setattr(sender, "PAUSE_SECONDS", 3.0)
    spool.add_metrics({"train/loss": VALUES["train/loss"](1)}, step=1)
    sending = Sender(spool.path, Faulty(before=break_once), run_id)
    wait_until_drained(spool)
    time.sleep(0.2)  # it rests now: `close` is what sends the others
    fill(spool)
    breaks.set()
    assert sending.close(patience_seconds=30)
    check_all_there_once(client, run_id, spool)
