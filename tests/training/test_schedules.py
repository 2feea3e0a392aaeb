"""Schedules against torch's own schedulers and closed forms."""

import itertools
import math
import warnings

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, OneCycleLR

from sslmlflow.config.pretrain import SCHEDULE_NAMES
from sslmlflow.training.schedules import Schedule

TOTALS = [1, 2, 3, 4, 5, 7, 10, 37, 100, 1001]


def torchs(make: type[LRScheduler], total: int, lr: float, **settings: float) -> list[tuple[float, float]]:
    """Learning rate and momentum of each step under a scheduler of torch."""
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr, momentum=0.9)
    scheduler = make(optimiser, **settings)
    course = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of steps of the scheduler without one of the optimiser
        for step in range(total):
            group = optimiser.param_groups[0]
            course.append((float(group["lr"]), float(group["momentum"])))
            if step + 1 < total:
                scheduler.step()
    return course


@pytest.mark.parametrize("total", TOTALS)
def test_one_cycle_is_torchs(total: int) -> None:
    expected = torchs(OneCycleLR, total, 0.5, max_lr=0.5, total_steps=total)
    schedule = Schedule("one-cycle", 0.5, total)
    for step, (lr, momentum) in enumerate(expected):
        assert schedule.at(step)[0] == pytest.approx(lr, rel=1e-9), step
        assert schedule.at(step)[1] == pytest.approx(momentum, rel=1e-9), step


def test_one_cycle_has_the_ends_and_the_peak_that_are_promised() -> None:
    schedule = Schedule("one-cycle", 0.5, total_steps=1000)
    assert schedule.at(0)[:2] == pytest.approx((0.5 / 25, 0.95))
    assert schedule.at(299)[:2] == pytest.approx((0.5, 0.85))
    assert schedule.at(999)[:2] == pytest.approx((0.5 / 250_000, 0.95))
    assert max(range(1000), key=lambda step: schedule.at(step)[0]) == 299


@pytest.mark.parametrize("total", [total for total in TOTALS if total > 1])
def test_cosine_falls_to_0_at_the_last_step_as_torchs(total: int) -> None:
    expected = torchs(CosineAnnealingLR, total, 0.3, T_max=total - 1)
    schedule = Schedule("cosine", 0.3, total)
    for step, (lr, _) in enumerate(expected):
        assert schedule.at(step)[0] == pytest.approx(lr, rel=1e-9, abs=1e-12)
        assert schedule.at(step)[0] == pytest.approx(0.15 * (1 + math.cos(math.pi * step / (total - 1))), rel=1e-9)


def test_warmup_rises_by_equal_steps_to_the_peak_and_falls_by_a_half_cosine_to_0() -> None:
    schedule = Schedule("warmup-cosine", 0.8, total_steps=51, warmup_steps=10)
    course = [schedule.at(step)[0] for step in range(51)]
    assert course[:10] == pytest.approx([0.08 * k for k in range(1, 11)])
    assert course[10:] == pytest.approx([0.4 * (1 + math.cos(math.pi * k / 40)) for k in range(41)])
    assert course[-1] == 0


@pytest.mark.parametrize("warmup", [0, 1, 5, 6, 50])
def test_a_warmup_as_long_as_the_training_or_longer_only_rises(warmup: int) -> None:
    course = [Schedule("warmup-cosine", 1.0, total_steps=5, warmup_steps=warmup).at(step)[0] for step in range(5)]
    if warmup >= 5:
        assert course == pytest.approx([(k + 1) / warmup for k in range(5)])
    else:
        assert max(course) == 1.0
        assert course[-1] == 0


def test_exponential_falls_by_equal_factors_to_a_thousandth() -> None:
    course = [Schedule("exponential", 2.0, total_steps=31).at(step)[0] for step in range(31)]
    assert course[0] == 2.0
    assert course[-1] == pytest.approx(0.002)
    assert [b / a for a, b in itertools.pairwise(course)] == pytest.approx([10**-0.1] * 30)


def test_constant_stays() -> None:
    assert {Schedule("constant", 0.06, total_steps=9).at(step) for step in range(9)} == {(0.06, 0.9, 0.0)}


@pytest.mark.parametrize("name", SCHEDULE_NAMES)
@pytest.mark.parametrize("total", [1, 2, 3, 4])
def test_the_shortest_trainings_have_rates_from_0_to_the_peak(name: str, total: int) -> None:
    for step in range(total):
        lr, momentum, _ = Schedule(name, 0.1, total, warmup_steps=2).at(step)
        assert 0 <= lr <= 0.1 * (1 + 1e-12)
        assert 0.85 <= momentum <= 0.95


@pytest.mark.parametrize("name", [name for name in SCHEDULE_NAMES if name != "one-cycle"])
def test_all_but_one_cycle_hold_the_momentum(name: str) -> None:
    assert {Schedule(name, 0.1, 20, warmup_steps=5).at(step)[1] for step in range(20)} == {0.9}


def test_an_unknown_schedule_is_refused() -> None:
    with pytest.raises(ValueError, match="onecycle is not one of one-cycle"):
        Schedule("onecycle", 0.1, 10)


def test_weight_decay_goes_by_a_half_cosine_whatever_the_learning_rate_does() -> None:
    schedule = Schedule("constant", 0.1, total_steps=5, weight_decay=0.04, weight_decay_end=0.4)
    course = [schedule.at(step).weight_decay for step in range(5)]
    assert course == pytest.approx([0.4 - 0.18 * (1 + math.cos(math.pi * k / 4)) for k in range(5)])
    assert {Schedule("cosine", 0.1, 5, weight_decay=0.3).at(step).weight_decay for step in range(5)} == {0.3}
