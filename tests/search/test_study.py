"""Seats of a study: exactly as many as were asked for, whoever joins, dies or comes back."""

import json
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import optuna
import pytest
from optuna.storages._heartbeat import HeartbeatThread
from optuna.trial import TrialState

from sslmlflow.digests import digest
from sslmlflow.errors import ConfigError, DivergedError, UserError
from sslmlflow.search.settings import default_name, earlier_name
from sslmlflow.search.study import SEAT, WHY, Objective, Seats, is_study
from tests.conftest import ROOT
from tests.search.postgres import postgres


def parabola(trial: optuna.Trial) -> float:
    return trial.suggest_float("x", -1.0, 1.0) ** 2


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/studies.db"


def seats_at(url: str) -> Seats:
    return Seats(url, "study", minimise=True, heartbeat=1)


def take_all(seats: Seats, objective: Objective = parabola) -> None:
    while seats.waiting():
        seats.take("tpe", 0, seats.begun(), objective)


def test_a_study_that_an_earlier_build_named_is_found_again(url: str) -> None:
    """By default the name comes from the settings, of which two were spelled otherwise."""
    today = {"objective": "label_free/crr_adjusted", "search": "none", "epochs": "5"}
    then = {"objective": "crr_adjusted", "search": "auto", "epochs": "5"}
    assert earlier_name(today) == f"umm-{digest(then)[:12]}" != default_name(today)
    assert not is_study(url, earlier_name(today))
    assert Seats(url, earlier_name(today), minimise=False, heartbeat=1).new
    assert is_study(url, earlier_name(today))
    assert not is_study(url, default_name(today))
    assert not is_study("sqlite:////nowhere/at/all.db", "any")


def test_a_study_is_made_once_and_extended(url: str) -> None:
    seats = seats_at(url)
    assert seats.new
    seats.add(3, {"x": 0.5})
    take_all(seats)
    again = seats_at(url)
    assert not again.new
    assert again.study.direction == optuna.study.StudyDirection.MINIMIZE
    again.add(3, {"x": 0.7})
    assert again.waiting() == 0
    again.add(5, {"x": 0.7})
    assert again.waiting() == 2
    take_all(again)
    found = again.latest()
    assert [trial.user_attrs[SEAT] for trial in found] == [0, 1, 2, 3, 4]
    assert found[0].params == {"x": 0.5}
    assert len({trial.params["x"] for trial in found}) == 5
    assert all(trial.value == trial.params["x"] ** 2 for trial in found)


@pytest.mark.parametrize("sampler", ["tpe", "gp", "quasi-random"])
def test_samplers_draw_anew_each_time_and_the_same_in_a_repetition(sampler: str, tmp_path: Path) -> None:
    drawn = []
    for name in ("one", "other"):
        seats = seats_at(f"sqlite:///{tmp_path}/{name}.db")
        seats.add(13, None)
        while seats.waiting():
            seats.take(sampler, 0, seats.begun(), parabola)
        drawn.append([trial.params["x"] for trial in seats.latest()])
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) == 13


def test_a_quasi_random_search_that_has_no_value_yet_does_not_stand_still(url: str) -> None:
    def fails(trial: optuna.Trial) -> float:
        parabola(trial)
        raise DivergedError("too hot")

    seats = seats_at(url)
    seats.add(5, None)
    while seats.waiting():
        seats.take("quasi-random", 0, seats.begun(), fails)
    assert len({trial.params["x"] for trial in seats.latest()}) == 5


def test_a_sampler_keeps_away_from_what_breaks_a_constraint(tmp_path: Path) -> None:
    def lowest(trial: optuna.Trial) -> float:
        return trial.suggest_float("x", -1.0, 1.0)

    def lowest_above_zero(trial: optuna.Trial) -> float:
        x = lowest(trial)
        trial.set_constraint("x", -x)
        return x

    medians = []
    for objective in (lowest, lowest_above_zero):
        seats = seats_at(f"sqlite:///{tmp_path}/{objective.__name__}.db")
        seats.add(30, None)
        take_all(seats, objective)
        medians.append(statistics.median(trial.params["x"] for trial in seats.latest()[15:]))
    assert medians[0] < -0.6
    assert medians[1] > -0.2


def test_a_failure_in_words_is_final_and_the_search_goes_on(url: str) -> None:
    def second_fails(trial: optuna.Trial) -> float:
        if trial.user_attrs[SEAT] == 1:
            raise DivergedError("too hot")
        return parabola(trial)

    seats = seats_at(url)
    seats.add(3, None)
    take_all(seats, second_fails)
    assert seats.requeue() == []
    states = [trial.state for trial in seats.latest()]
    assert states == [TrialState.COMPLETE, TrialState.FAIL, TrialState.COMPLETE]
    assert seats.latest()[1].user_attrs[WHY] == "too hot"


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), SystemExit(3), MemoryError(), UserError("no server")])
def test_what_was_stopped_is_done_again_with_the_same_values(url: str, stop: BaseException) -> None:
    def stopped(trial: optuna.Trial) -> float:
        parabola(trial)
        trial.set_user_attr("runs", ["abc"])
        raise stop

    seats = seats_at(url)
    seats.add(1, None)
    tried = []
    for attempt in range(4):
        with pytest.raises((KeyboardInterrupt, MemoryError, UserError)):
            seats.take("tpe", 0, attempt, stopped)
        assert seats.running() == 0, "nothing is left running for ever"
        tried.append(seats.latest()[0].params["x"])
        # Who is stopped may go on for ever; what a process dies of is tried three times.
        again = attempt < 2 or isinstance(stop, KeyboardInterrupt | SystemExit)
        assert [trial.user_attrs["runs"] for trial in seats.requeue()] == ([["abc"]] if again else [])
        if not again:
            break
    assert len(set(tried)) == 1
    assert seats.waiting() == (1 if again else 0)


def test_a_process_that_dies_while_values_are_drawn_leaves_no_trial_behind(url: str) -> None:
    seats = seats_at(url)
    seats.add(1, None)
    seats.study.ask()  # as far as Optuna is when it draws: running, and no heartbeat yet
    assert seats.requeue() == []
    assert seats.running() == 1, "it may be alive"
    patience = time.monotonic() + 30
    while not seats.requeue() and time.monotonic() < patience:
        time.sleep(0.2)
    assert (seats.running(), seats.waiting()) == (0, 1)


def test_a_process_that_was_taken_for_dead_leaves_its_trial_to_others(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def outlived(trial: optuna.Trial) -> float:
        other = seats_at(url)
        other.study.tell(trial.number, state=TrialState.FAIL)  # what a leader does with a stale one
        assert len(other.requeue()) == 1
        return parabola(trial)

    seats = seats_at(url)
    seats.add(1, {"x": 0.5})
    seats.take("tpe", 0, 0, outlived)
    assert "taken for dead" in capsys.readouterr().out
    take_all(seats)
    assert [trial.value for trial in seats.latest()] == [0.25]


def test_a_process_that_gives_no_sign_of_life_after_it_has_begun_is_taken_for_dead(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(trial: optuna.Trial) -> float:
        other, patience = seats_at(url), time.monotonic() + 30
        while not other.requeue() and time.monotonic() < patience:
            time.sleep(0.2)
        return parabola(trial)

    monkeypatch.setattr(HeartbeatThread, "start", lambda thread: None)
    monkeypatch.setattr(HeartbeatThread, "join", lambda thread: None)
    seats = seats_at(url)
    seats.add(1, None)
    seats.take("tpe", 0, 0, silent)
    assert (seats.running(), seats.waiting()) == (0, 1)


def test_without_a_seat_there_is_no_trial(url: str) -> None:
    seats = seats_at(url)
    seats.take("tpe", 0, 0, parabola)
    assert seats.study.trials == []


def test_what_others_queue_is_no_trial_of_ours(url: str) -> None:
    seats = seats_at(url)
    for attributes in ({}, {SEAT: "1"}, {SEAT: None}, {SEAT: True}, {SEAT: [0]}, {SEAT: {"": 0}}):
        seats.study.enqueue_trial({}, user_attrs=attributes)
    seats.study.add_trial(optuna.create_trial(state=TrialState.COMPLETE, value=0.5, user_attrs={"seat": 0.5}))
    seats.add(2, None)
    take_all(seats)
    assert [trial.state for trial in seats.latest()] == [TrialState.COMPLETE] * 2
    assert not seats.requeue()


def test_a_database_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="PGPASSWORD") as told:
        seats_at("postgresql+psycopg://me:geheim@localhost/studies")
    assert "geheim" not in str(told.value)
    with pytest.raises(ConfigError, match="PGPASSWORD"):
        seats_at("postgresql+psycopg://me@localhost/studies?password=geheim")
    for nowhere in ("sqlite://", "sqlite:///:memory:"):
        with pytest.raises(ConfigError, match="others cannot join it"):
            seats_at(nowhere)
    with pytest.raises(ConfigError, match=r"storage=studies\.db is not possible"):
        seats_at("studies.db")
    (tmp_path / "broken.db").write_text("no database at all, but long enough to be read as one" * 100)
    with pytest.raises(UserError, match="the database of studies sqlite"):
        seats_at(f"sqlite:///{tmp_path}/broken.db")
    with pytest.raises(UserError, match="cannot be used"):
        seats_at("postgresql+psycopg://me@127.0.0.1:1/studies")


def start(url: str, leads: bool) -> subprocess.Popen[bytes]:
    given = json.dumps({"url": url, "name": "study", "leads": leads})
    return subprocess.Popen([sys.executable, "-m", "tests.search.filler", given], cwd=ROOT)


def check_seats(seats: Seats, count: int) -> None:
    """Exactly so many seats, each taken to its one end, and no trial that runs for ever."""
    found = seats.latest()
    assert [trial.user_attrs[SEAT] for trial in found] == list(range(count))
    ended = Counter(trial.state for trial in found)
    assert ended == {TrialState.COMPLETE: count - count // 7, TrialState.FAIL: count // 7}
    assert all(trial.user_attrs[WHY] == "the seventh fails" for trial in found if trial.state == TrialState.FAIL)
    complete = [trial for trial in seats.study.trials if trial.state == TrialState.COMPLETE]
    assert len(complete) == ended[TrialState.COMPLETE], "no seat was filled twice"
    assert all(trial.state.is_finished() for trial in seats.study.trials)


@pytest.mark.slow
def test_eight_processes_that_begin_at_once_fill_every_seat_once(url: str) -> None:
    processes = [start(url, leads=number == 0) for number in range(8)]
    seats = seats_at(url)
    seats.add(160, None)
    assert [process.wait(300) for process in processes] == [0] * 8
    check_seats(seats, 160)


@pytest.mark.slow
def test_killed_processes_lose_nothing(url: str) -> None:
    count, kills, moments = 105, 50, random.Random(0)
    seats = seats_at(url)
    seats.add(count, None)
    killed, processes = 0, {}
    patience = time.monotonic() + 500
    while time.monotonic() < patience:
        for number in range(3):
            if number not in processes:
                processes[number] = start(url, leads=number == 0)
        if killed < kills:
            time.sleep(moments.uniform(0.0, 0.4))
            victim = moments.choice(list(processes))
            process = processes.pop(victim)
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
                killed += 1
            process.wait()
        else:
            assert processes[0].wait(200) == 0, "the leader ends only when every seat is taken to its end"
            break
    for process in processes.values():
        process.wait(60)
    assert killed == kills
    check_seats(seats, count)


@pytest.mark.slow
def test_two_processes_fill_a_study_in_postgres() -> None:
    with postgres() as url:
        processes = [start(url, leads=number == 0) for number in range(2)]
        seats = seats_at(url)
        seats.add(40, None)
        assert [process.wait(300) for process in processes] == [0, 0]
        check_seats(seats, 40)
        workers = Counter(t.user_attrs["process"] for t in seats.latest())
        assert len(workers) == 2
        assert min(workers.values()) >= 10
