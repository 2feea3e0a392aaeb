"""Limits and alarms of a tuned encoder beside the untuned one."""

import pytest

from sslmlflow.measures import ALIGNMENT, HELD_OUT_LOSS, SPREAD
from sslmlflow.tuning.checks import NOISY, POOLED, alarms, limits

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
    found = limits(UNTUNED)
    assert [limit.name for limit in found if limit.excess({**UNTUNED, **tuned}) > 0] == broken
    assert len(found) == 3


def test_a_passed_limit_is_told_with_its_value() -> None:
    alignment, _, loss = limits(UNTUNED)
    assert alignment.told({ALIGNMENT: 0.77}) == "alignment 0.77, the limit is 0.78"
    assert loss.told({HELD_OUT_LOSS: 2.11}) == "held-out loss 2.11, the limit is 2.1"
    assert loss.told({}) == "held-out loss has no value"


def test_a_loss_below_zero_may_rise_as_far() -> None:
    untuned = {**UNTUNED, HELD_OUT_LOSS: -0.8}  # SimSiam's
    for loss, kept in ((-0.8, True), (-0.77, True), (-0.75, False), (-0.9, True)):
        (limit,) = (limit for limit in limits(untuned) if limit.key == HELD_OUT_LOSS)
        assert (limit.excess({HELD_OUT_LOSS: loss}) <= 0) == kept


@pytest.mark.parametrize("lacking", list(UNTUNED))
def test_what_was_not_measured_keeps_no_limit(lacking: str) -> None:
    rest = {key: value for key, value in UNTUNED.items() if key != lacking}
    for tuned, untuned in ((rest, UNTUNED), (UNTUNED, rest)):
        assert sum(limit.excess(tuned) > 0 for limit in limits(untuned)) == 1


def test_alarms_are_spread_and_what_noise_improves() -> None:
    assert alarms({SPREAD: 0.95, CRR: 3.0, NOISY: 2.9}, CRR, lower_is_better=False) == []
    (spread,) = alarms({SPREAD: 0.96}, CRR, lower_is_better=False)
    assert "whitened" in spread
    (noise,) = alarms({CRR: 3.0, NOISY: 3.5}, CRR, lower_is_better=False)
    assert "noise added to the embeddings improves the objective (by 0.5)" in noise
    assert alarms({CRR: 3.0, NOISY: 3.5}, CRR, lower_is_better=True) == []
    assert alarms({CRR: 3.0, NOISY: 2.5}, CRR, lower_is_better=True) != []
