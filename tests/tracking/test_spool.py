"""The outbox on disk: nothing doubled, nothing lost, whoever reads or is killed meanwhile."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sslmlflow.errors import UserError
from sslmlflow.tracking.spool import Spool


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    opened = Spool(tmp_path / "new" / "spool.db")
    yield opened
    opened.close()


def unsent(spool: Spool) -> list[tuple[str, int, float, int | None]]:
    """What is to be sent now or later, as it lies on disk."""
    with closing(sqlite3.connect(spool.path)) as database:
        query = "SELECT key, step, value, milestone FROM metrics WHERE sent = 0 ORDER BY rowid"
        return list(database.execute(query))


def test_metrics_come_out_as_they_went_in(spool: Spool) -> None:
    before = time.time_ns() // 1_000_000
    spool.add_metrics({"train/loss": 0.1 + 0.2, "train/lr": 1e-300}, step=1)
    spool.add_metrics({"train/loss": -0.0}, step=2)
    assert unsent(spool) == [
        ("train/loss", 1, 0.1 + 0.2, None),
        ("train/lr", 1, 1e-300, None),
        ("train/loss", 2, 0.0, None),
    ]
    after = time.time_ns() // 1_000_000
    assert all(before <= point.timestamp <= after for point in spool.unsent_metrics())


def test_what_is_said_twice_is_kept_once_as_it_was_first_said(spool: Spool) -> None:
    spool.add_metrics({"train/loss": 1.0}, step=1)
    first = spool.unsent_metrics()
    spool.add_metrics({"train/loss": 2.0, "train/lr": 0.5}, step=1)
    assert unsent(spool) == [("train/loss", 1, 1.0, None), ("train/lr", 1, 0.5, None)]
    assert spool.unsent_metrics()[:1] == first  # with its time: a repeated sending is no second point

    spool.metrics_sent(spool.unsent_metrics())
    spool.add_metrics({"train/loss": 3.0}, step=1)
    assert unsent(spool) == []


def test_what_was_sent_is_not_sent_again(spool: Spool) -> None:
    for step in range(5):
        spool.add_metrics({"a": step, "b": step}, step)
    assert [point.step for point in spool.unsent_metrics(limit=3)] == [0, 0, 1]
    spool.metrics_sent(spool.unsent_metrics(limit=3))
    assert [(key, step) for key, step, _, _ in unsent(spool)] == [("b", 1), *((k, s) for s in (2, 3, 4) for k in "ab")]
    assert spool.count_unsent() == 7
    spool.metrics_sent([])
    assert spool.count_unsent() == 7


def test_a_milestone_is_kept_with_its_metrics(spool: Spool, tmp_path: Path) -> None:
    spool.add_milestone(20, tmp_path / "epoch-20", {"label_free/crr": 3.0, "epoch": 20.0})
    spool.add_milestone(0, tmp_path / "epoch-0", {})
    assert unsent(spool) == [("label_free/crr", 20, 3.0, 20), ("epoch", 20, 20.0, 20)]
    assert spool.unsent_milestones() == [(0, tmp_path / "epoch-0"), (20, tmp_path / "epoch-20")]
    assert [spool.has_milestone(epoch) for epoch in (0, 1, 20)] == [True, False, True]
    assert spool.count_unsent() == 4
    assert spool.model_ids() == {}


def test_points_of_milestones_that_wait_hold_no_others_up(spool: Spool, tmp_path: Path) -> None:
    for epoch in range(30):
        spool.add_milestone(epoch, tmp_path / f"{epoch}", {f"m{number}": 1.0 for number in range(50)})
    spool.add_metrics({"train/loss": 1.0}, step=1)
    assert [point.key for point in spool.unsent_metrics()] == ["train/loss"]
    spool.milestone_sent(7, "m-7")
    assert {point.milestone for point in spool.unsent_metrics()} == {None, 7}


def test_a_milestone_is_sent_once(spool: Spool, tmp_path: Path) -> None:
    for epoch in (0, 20):
        spool.add_milestone(epoch, tmp_path / f"{epoch}", {"crr": 1.0})
    spool.milestone_sent(0, "m-1")
    assert spool.unsent_milestones() == [(20, tmp_path / "20")]
    assert spool.model_ids() == {0: "m-1"}
    spool.add_milestone(0, tmp_path / "elsewhere", {"crr": 2.0})
    assert spool.model_ids() == {0: "m-1"}
    assert spool.unsent_milestones() == [(20, tmp_path / "20")]
    assert spool.has_milestone(0)
    assert spool.count_unsent() == 3  # two points and a milestone


def test_of_a_milestone_that_cannot_be_kept_no_metric_is_kept_either(spool: Spool, tmp_path: Path) -> None:
    other = sqlite3.connect(spool.path)
    other.execute("DROP TABLE milestones")
    other.close()
    with pytest.raises(UserError, match=r"cannot write .*spool\.db"):
        spool.add_milestone(1, tmp_path, {"crr": 1.0})
    assert unsent(spool) == []


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_of_what_holds_a_number_that_is_not_finite_nothing_is_kept(bad: float, spool: Spool, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not finite, so not a metric: worse, worst"):
        spool.add_metrics({"good": 1.0, "worse": bad, "worst": bad}, step=1)
    with pytest.raises(ValueError, match="worst"):
        spool.add_milestone(1, tmp_path, {"good": 1.0, "worst": bad})
    assert spool.count_unsent() == 0
    assert not spool.has_milestone(1)
    spool.add_metrics({"good": 2.0}, step=1)
    assert unsent(spool) == [("good", 1, 2.0, None)]


def test_everything_is_there_when_it_is_opened_again(spool: Spool, tmp_path: Path) -> None:
    spool.add_metrics({"a": 1.0, "b": 2.0}, step=1)
    spool.metrics_sent(spool.unsent_metrics(limit=1))
    spool.add_milestone(2, tmp_path, {})
    spool.close()
    again = Spool(spool.path)
    assert unsent(again) == [("b", 1, 2.0, None)]
    assert again.unsent_milestones() == [(2, tmp_path)]
    again.close()


def test_a_reader_beside_the_writer_sees_every_point_once_and_no_milestone_in_part(tmp_path: Path) -> None:
    """As in a training: one thread writes, another sends."""
    path, steps, done = tmp_path / "spool.db", 400, threading.Event()
    errors: list[BaseException] = []

    def write() -> None:
        try:
            spool = Spool(path)
            for step in range(steps):
                spool.add_metrics({"a": step, "b": step}, step)
                if step % 10 == 0:
                    spool.add_milestone(step, tmp_path, {"crr": step, "rankme": step})
            spool.close()
        except BaseException as error:
            errors.append(error)
        finally:
            done.set()

    writer = threading.Thread(target=write)
    writer.start()
    spool, seen = Spool(path), []
    while True:
        last_round = done.is_set()
        points = spool.unsent_metrics(limit=37)
        assert all(spool.has_milestone(point.milestone) for point in points if point.milestone is not None)
        milestones = dict(spool.unsent_milestones())
        for epoch in milestones:
            assert not any(point.milestone == epoch for point in points), "the server does not have it yet"
            spool.milestone_sent(epoch, f"m-{epoch}")
            measured = [point for point in spool.unsent_metrics(10**6) if point.milestone == epoch]
            assert len(measured) == 2
        seen += points
        spool.metrics_sent(points)
        if last_round and not points:
            break
    writer.join()
    spool.close()
    assert errors == []
    expected = {(key, step) for step in range(steps) for key in "ab"}
    expected |= {(key, step) for step in range(0, steps, 10) for key in ("crr", "rankme")}
    assert len(seen) == len(expected)
    assert {(point.key, point.step) for point in seen} == expected
    assert all(point.value == point.step for point in seen)


def test_many_may_open_a_fresh_spool_at_once(tmp_path: Path) -> None:
    start, errors = threading.Barrier(8), []

    def open_and_write(number: int) -> None:
        try:
            start.wait()
            spool = Spool(tmp_path / "spool.db")
            spool.add_metrics({f"metric {number}": number}, step=0)
            spool.close()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=open_and_write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert Spool(tmp_path / "spool.db").count_unsent() == 8


KILLED = """
import os, signal, sys
from pathlib import Path
from sslmlflow.tracking.spool import Spool

spool = Spool(Path(sys.argv[1]))
for step in range(5):
    spool.add_metrics({"a": step, "b": step}, step)
spool.add_milestone(4, Path("/somewhere"), {"crr": 4.0})
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_kill_right_after_a_write_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path)], env=dict(os.environ), check=False)
    assert killed.returncode == -signal.SIGKILL
    spool = Spool(path)
    assert unsent(spool) == [*((key, step, float(step), None) for step in range(5) for key in "ab"), ("crr", 4, 4.0, 4)]
    assert spool.unsent_milestones() == [(4, Path("/somewhere"))]
    # The training that goes on repeats its last steps.
    for step in (3, 4, 5):
        spool.add_metrics({"a": step, "b": step}, step)
    assert spool.count_unsent() == 2 * 6 + 2
    spool.close()
