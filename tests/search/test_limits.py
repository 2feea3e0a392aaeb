"""Limits and alarms of a tuned encoder beside the untuned one."""

import numpy as np
import pytest
from scipy import stats

from sslmlflow.metrics.catalogue import HELD_OUT_LOSS, SPREAD
from sslmlflow.search.limits import NOISY, POOLED, Limit, TuningMetrics, alarms, limits, rise

CRR = "label_free/crr"
COMMON = np.random.default_rng(0).normal(size=50)  # what the choice of images does to both encoders


def measured(loss: float = 2.0, pooled: float = 5.0, own: float = 0.1, seed: int = 1) -> TuningMetrics:
    """An encoder whose deviations are those of the images and, `own` times as large, some of its own."""
    random = np.random.default_rng(seed)
    deviations = {key: (COMMON + own * random.normal(size=50)).tolist() for key in (HELD_OUT_LOSS, POOLED)}
    return TuningMetrics({HELD_OUT_LOSS: loss, POOLED: pooled}, deviations)


UNTUNED = measured(seed=2)


def passed(tuned: TuningMetrics, untuned: TuningMetrics = UNTUNED) -> list[str]:
    return [limit.name for limit in limits(tuned, untuned) if limit.excess > 0]


@pytest.mark.parametrize(
    ("tuned", "broken"),
    [
        (measured(), []),
        (measured(loss=2.2, pooled=4.8), []),  # within what other images would explain
        (measured(loss=0.1, pooled=9.0), []),
        (measured(loss=2.5), ["held-out loss"]),
        (measured(pooled=4.5), ["pooled CRR"]),
        (measured(loss=2.5, pooled=4.5, own=1.0), []),  # of an encoder that varies so much
    ],
)
def test_a_limit_is_passed_by_what_is_separably_worse(tuned: TuningMetrics, broken: list[str]) -> None:
    assert passed(tuned) == broken


def test_the_excess_is_the_near_end_of_the_interval_of_the_difference() -> None:
    tuned = measured(loss=2.5, pooled=4.9)
    loss, pooled = limits(tuned, UNTUNED)
    for limit, key, worse in ((loss, HELD_OUT_LOSS, 0.5), (pooled, POOLED, 0.1)):
        spread = np.std(np.subtract(tuned.deviations[key], UNTUNED.deviations[key]), ddof=1)
        assert limit.excess == pytest.approx(worse - stats.t(49).ppf(0.975) * spread)


@pytest.mark.parametrize("trial_seeds", [1, 2])
def test_another_seed_may_change_a_metric_by_two_standard_deviations(trial_seeds: int) -> None:
    seeds = [measured(loss=loss, seed=place) for place, loss in enumerate((1.9, 2.0, 2.2))]
    untuned = TuningMetrics.untuned(seeds, trial_seeds)
    assert untuned.values[HELD_OUT_LOSS] == pytest.approx(np.mean([1.9, 2.0][:trial_seeds])), "of the same seeds"
    tolerance = 2 * np.std([1.9, 2.0, 2.2], ddof=1) / trial_seeds**0.5
    assert untuned.tolerance[HELD_OUT_LOSS] == pytest.approx(tolerance)
    tuned = measured(loss=untuned.values[HELD_OUT_LOSS] + 0.5)
    loss, _ = limits(tuned, untuned)
    found = rise(HELD_OUT_LOSS, tuned, untuned)
    assert found is not None
    assert loss.excess == pytest.approx(found.low - tolerance)
    assert passed(measured(loss=3.5), untuned) == ["held-out loss"]
    assert TuningMetrics.untuned(seeds[:1], 1).tolerance == {}


def test_a_passed_limit_names_its_evidence() -> None:
    loss, pooled = limits(measured(loss=2.5, pooled=4.0), UNTUNED)
    low, high = loss.excess, 2 * 0.5 - loss.excess
    expected = f"held-out loss 2.500 is above the untuned 2.000 by 0.500 (95 % interval {low:.3f} to {high:.3f}; "
    assert loss.words == expected + "another seed may change it by 0.000)"
    assert pooled.words.startswith("pooled CRR 4.000 is below the untuned 5.000 by 1.000 (95 % interval 0.")


@pytest.mark.parametrize("lacking", [HELD_OUT_LOSS, POOLED])
def test_what_was_not_measured_keeps_no_limit(lacking: str) -> None:
    without = {key: value for key, value in measured().values.items() if key != lacking}
    for lacks in (
        TuningMetrics(without, measured().deviations),
        TuningMetrics(measured().values, {**UNTUNED.deviations, lacking: []}),
    ):
        assert len(passed(lacks)) == len(passed(measured(), lacks)) == 1
    (limit,) = (limit for limit in limits(lacks, UNTUNED) if limit.excess > 0)
    assert limit == Limit(limit.name, 1.0, f"{limit.name} has no value")
    (limit,) = (limit for limit in limits(measured(), lacks) if limit.excess > 0)
    assert limit.words == f"{limit.name} of the untuned encoder has no value"


def test_the_mean_over_seeds_is_of_values_and_of_each_half() -> None:
    one = TuningMetrics({CRR: 1.0, POOLED: 2.0, SPREAD: 0.5}, {POOLED: [1.0, -1.0], CRR: [2.0, -2.0]})
    other = TuningMetrics({CRR: 3.0, POOLED: 4.0}, {POOLED: [-3.0, 3.0]})
    mean = TuningMetrics.mean([one, other])
    assert mean.values == {CRR: 2.0, POOLED: 3.0}
    assert {key: list(of) for key, of in mean.deviations.items()} == {POOLED: [-1.0, 1.0]}
    assert TuningMetrics.mean([one]).values == one.values


def test_alarms_are_spread_and_what_noise_improves() -> None:
    assert alarms({SPREAD: 0.95, CRR: 3.0, NOISY: 2.9}, CRR, lower_is_better=False) == []
    (spread,) = alarms({SPREAD: 0.96}, CRR, lower_is_better=False)
    assert "whitened" in spread
    (noise,) = alarms({CRR: 3.0, NOISY: 3.5}, CRR, lower_is_better=False)
    assert "noise added to the embeddings improves the objective (by 0.5)" in noise
    assert alarms({CRR: 3.0, NOISY: 3.5}, CRR, lower_is_better=True) == []
    assert alarms({CRR: 3.0, NOISY: 2.5}, CRR, lower_is_better=True) != []
