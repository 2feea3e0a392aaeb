"""The leader of a study, while a worker's trial ends at the very moment in which the leader asks for it."""

from pathlib import Path

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from sslmlflow.config.tune import Tune
from sslmlflow.search.attributes import ALARMS, BEYOND, MEASURED, UNTUNED, VALUES
from sslmlflow.search.lead import take_all
from sslmlflow.search.study import Seats
from sslmlflow.search.trial import Search

CONFIG = Tune()


class Quick(Search):
    """A search whose trials need no training."""

    def objective(self, trial: optuna.Trial) -> float:
        return measured(trial)


class Crossed(Seats):
    """Seats of which a worker ends one as soon as the leader has asked the question `when`."""

    when = ""
    end: TrialState
    trial: optuna.Trial | None = None

    def waiting(self) -> int:
        answer = super().waiting()
        self._asked("waiting")
        return answer

    def running(self) -> int:
        answer = super().running()
        self._asked("running")
        return answer

    def requeue(self) -> list[FrozenTrial]:
        answer = super().requeue()
        self._asked("requeue")
        return answer

    def _asked(self, question: str) -> None:
        if self.trial and question == self.when:
            trial, self.trial = self.trial, None
            value = measured(trial) if self.end == TrialState.COMPLETE else None
            self.study.tell(trial, value, state=self.end)


def measured(trial: optuna.Trial) -> float:
    trial.set_user_attr(VALUES, {"alpha": 0.0})
    trial.set_user_attr(MEASURED, {CONFIG.objective: 1.0})
    trial.set_user_attr(ALARMS, [])
    trial.set_user_attr(BEYOND, [])
    return 1.0


@pytest.mark.parametrize("end", [TrialState.COMPLETE, TrialState.FAIL], ids=["done", "died"])
@pytest.mark.parametrize("when", ["waiting", "running", "requeue"])
def test_the_last_trial_of_a_worker_is_done_and_told_whenever_it_ends(
    when: str, end: TrialState, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seats = Crossed(f"sqlite:///{tmp_path}/studies.db", "study", minimise=False, heartbeat=30)
    seats.study.set_user_attr(UNTUNED, {"values": {}, "deviations": {}})
    seats.add(1, None)
    seats.when, seats.end, seats.trial = when, end, seats.study.ask()
    take_all(CONFIG, None, seats, Quick(CONFIG, None, None, None, []))  # type: ignore[arg-type]
    assert seats.trial is None, "the question was asked"
    assert [trial.state for trial in seats.latest()] == [TrialState.COMPLETE]
    assert capsys.readouterr().out.count("trial 0 (") == 1
