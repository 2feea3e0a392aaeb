"""Limits and alarms of a tuned encoder beside the untuned one."""

import pytest

from sslmlflow.measures import HELD_OUT_LOSS
from sslmlflow.tuning.checks import ALIGNMENT, NOISY, POOLED, SPREAD, alarms, constraints

UNTUNED = {ALIGNMENT: 0.80, POOLED: 5.0, HELD_OUT_LOSS: 2.0}
CRR = "label_free/crr"


@pytest.mark.parametrize(
    ("tuned", "broken"),
    [
        ({}, []),
        ({ALIGNMENT: 0.79, POOLED: 5.0, HELD_OUT_LOSS: 2.09}, []),
        ({ALIGNMENT: 0.95, POOLED: 9.0, HELD_OUT_LOSS: 0.1}, []),
        ({ALIGNMENT: 0.77}, ["alignment"]),
        ({POOLED: 4.99}, ["pooled coding rate reduction"]),
        ({HELD_OUT_LOSS: 2.11}, ["held-out loss"]),
    ],
)
def test_limits_are_those_of_the_specification(tuned: dict[str, float], broken: list[str]) -> None:
    found = constraints({**UNTUNED, **tuned}, UNTUNED)
    assert [name for name, excess in found.items() if excess > 0] == broken
    assert len(found) == 3


def test_a_loss_below_zero_may_rise_as_far() -> None:
    untuned = {**UNTUNED, HELD_OUT_LOSS: -0.8}  # SimSiam's
    for loss, kept in ((-0.8, True), (-0.77, True), (-0.75, False), (-0.9, True)):
        excess = constraints({**untuned, HELD_OUT_LOSS: loss}, untuned)["held-out loss"]
        assert (excess <= 0) == kept


@pytest.mark.parametrize("lacking", list(UNTUNED))
def test_what_was_not_measured_keeps_no_limit(lacking: str) -> None:
    rest = {key: value for key, value in UNTUNED.items() if key != lacking}
    for tuned, untuned in ((rest, UNTUNED), (UNTUNED, rest)):
        assert sum(excess > 0 for excess in constraints(tuned, untuned).values()) == 1


def test_alarms_are_spread_and_what_noise_improves() -> None:
    assert alarms({SPREAD: 0.95, CRR: 3.0, NOISY: 2.9}, CRR, lower_is_better=False) == []
    (spread,) = alarms({SPREAD: 0.96}, CRR, lower_is_better=False)
    assert "whitened" in spread
    (noise,) = alarms({CRR: 3.0, NOISY: 3.5}, CRR, lower_is_better=False)
    assert "noise added to the embeddings improves the objective (by 0.5)" in noise
    assert alarms({CRR: 3.0, NOISY: 3.5}, CRR, lower_is_better=True) == []
    assert alarms({CRR: 3.0, NOISY: 2.5}, CRR, lower_is_better=True) != []
