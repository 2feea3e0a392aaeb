"""Who is stopped early: trials behind the median of those that are finished and sound."""

import optuna
import pytest

from sslmlflow.search.pruning import SoundMedianPruner


def study_of(values: list[float], excess: list[float], direction: str) -> optuna.Study:
    """Finished trials with these values at step 1, 3 more at step 2, and these excesses over a limit."""
    study = optuna.create_study(direction=direction, pruner=SoundMedianPruner())
    for value, beyond in zip(values, excess, strict=True):
        trial = study.ask()
        trial.report(value, 1)
        trial.report(value + 3, 2)
        trial.set_constraint("limit", beyond)
        study.tell(trial, value + 3)
    return study


def pruned(study: optuna.Study, value: float, step: int) -> bool:
    trial = study.ask()
    trial.report(value, step)
    return trial.should_prune()


@pytest.mark.parametrize(
    ("direction", "value", "step", "stops"),
    [
        ("maximize", 2.9, 1, True),
        ("maximize", 3.0, 1, False),
        ("maximize", 3.1, 1, False),
        ("maximize", 5.9, 2, True),
        ("maximize", 6.1, 2, False),
        ("maximize", -9.0, 3, False),
        ("minimize", 3.1, 1, True),
        ("minimize", 2.9, 1, False),
    ],
)
def test_who_is_behind_the_median_at_the_same_step_is_stopped(
    direction: str, value: float, step: int, stops: bool
) -> None:
    assert pruned(study_of([1, 2, 3, 4, 5], [0.0] * 5, direction), value, step) == stops


def test_trials_beyond_a_limit_are_no_yardstick() -> None:
    study = study_of([1, 2, 3, 4, 5, *[90.0] * 9], [-1.0] * 5 + [0.1] * 9, "maximize")
    assert not pruned(study, 3.5, 1)
    assert pruned(study, 2.5, 1)


def test_fewer_than_five_sound_trials_stop_nobody() -> None:
    assert not pruned(study_of([1, 2, 3, 4, 5], [0, 0, 0, 0, 1], "maximize"), -9.0, 1)
