import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from sslmlflow.metrics.correlation import (
    bootstrap_interval,
    corrected,
    kendall,
    lost_at_random,
    lost_by_the_last,
    partial_correlation,
    pearson,
    rank_agreement,
    regret,
    spearman,
)

VECTOR = json.loads((Path(__file__).parents[1] / "vectors" / "pearson.json").read_text())
# Two-sided 5 % points of r, from printed tables, by number of pairs.
CRITICAL = {4: 0.950, 5: 0.878, 8: 0.707, 17: 0.482, 40: 0.312, 51: 0.276}


def pairs_with_correlation(r, n):
    """Two columns whose correlation is exactly r: a mix of two centred directions at right angles."""
    x, y = np.linalg.qr(np.column_stack([np.ones(n), np.random.default_rng(0).normal(size=(n, 2))]))[0].T[1:]
    return x, r * x + math.sqrt(1 - r * r) * y


@pytest.mark.parametrize(("first", "which"), [(0, "with_init"), (1, "without_init")])
def test_reference_values(first, which):
    result = pearson(VECTOR["metric"][first:], VECTOR["lp_accuracy"][first:])
    assert result.r == pytest.approx(VECTOR[f"r_{which}"], rel=1e-9)
    assert result.p == pytest.approx(VECTOR[f"p_{which}"], rel=1e-9)
    assert (result.n, result.reason) == (12 - first, None)


@pytest.mark.parametrize(("n", "r"), CRITICAL.items())
def test_printed_critical_values(n, r):
    assert pearson(*pairs_with_correlation(r, n)).p == pytest.approx(0.05, abs=0.001)
    assert pearson(*pairs_with_correlation(-r, n)).p == pytest.approx(0.05, abs=0.001)


def test_pairs_with_an_undefined_value_are_left_out():
    metric = [1.0, None, 2.0, math.nan, 4.0, 3.0, math.inf]
    accuracy = [10.0, 0.0, None, 5.0, 30.0, 30.0, 1.0]
    result = pearson(metric, accuracy)
    assert result.n == 3
    assert result.r == pytest.approx(np.corrcoef([1, 4, 3], [10, 30, 30])[0, 1])


@pytest.mark.parametrize(
    ("a", "b", "reason"),
    [
        ([], [], "at least 3"),
        ([1, 2], [1, 2], "at least 3"),
        ([1, 2, None], [1, 2, 3], "got 2"),
        ([5, 5, 5], [1, 2, 3], "first variable is constant"),
        ([1, 2, 3], [0.1 + 0.2, 0.3, 0.3], "second variable is constant"),
        ([0, 0, 0], [0, 0, 0], "first variable is constant"),
    ],
)
def test_undefined_has_a_reason(a, b, reason):
    result = pearson(a, b)
    assert math.isnan(result.r)
    assert math.isnan(result.p)
    assert reason in result.reason


def test_small_changes_are_changes():
    assert pearson([1, 1 + 1e-9, 1 + 2e-9], [1, 2, 3]).r == pytest.approx(1, abs=1e-6)


def test_different_lengths_are_refused():
    with pytest.raises(ValueError, match="2 and 3"):
        pearson([1, 2], [1, 2, 3])


def test_ranks_agree_whatever_the_shape_of_the_rise():
    epochs = [0, 20, 40, 60, 80]
    agreement = rank_agreement(
        {
            "crr": [e**3 for e in epochs],
            "loss": [math.exp(-e) for e in epochs],
            "flat": [1] * 5,
            "late": [None] * 3 + [1, 2],
        }
    )
    assert agreement["crr", "loss"] == pytest.approx(-1)
    assert math.isnan(agreement["crr", "flat"])
    assert math.isnan(agreement["crr", "late"])
    assert list(agreement) == [
        ("crr", "loss"), ("crr", "flat"), ("crr", "late"), ("loss", "flat"), ("loss", "late"), ("flat", "late"),
    ]  # fmt: skip


def test_spearman_by_rank_differences():
    a, b = [3.0, 9.0, 1.0, 7.0, 5.0, None], [10.0, 40.0, 30.0, 50.0, 20.0, 60.0]
    # Ranks 2 5 1 4 3 and 1 4 3 5 2: rho = 1 - 6 sum(differences^2) / (n (n^2 - 1)).
    assert rank_agreement({"a": a, "b": b})["a", "b"] == pytest.approx(1 - 6 * (1 + 1 + 4 + 1 + 1) / (5 * 24))


def test_spearman_shares_ranks_of_equal_values():
    # Ranks 1.5 1.5 3 4 and 1 2 3 4, correlated by hand: 4.5 / sqrt(4.5 * 5).
    assert rank_agreement({"a": [0, 0, 1, 2], "b": [5, 6, 7, 8]})["a", "b"] == pytest.approx(4.5 / math.sqrt(22.5))


def test_kendall_by_counting_pairs():
    a, b = [1.0, 5.0, 2.0, 4.0, 3.0, None], [2.0, 3.0, 1.0, 5.0, 4.0, 0.0]
    order = [np.sign((a[i] - a[j]) * (b[i] - b[j])) for i in range(5) for j in range(i)]
    found = kendall(a, b)
    assert found.r == pytest.approx(sum(order) / 10)
    assert found.n == 5


@pytest.mark.parametrize(("function", "reference"), [(spearman, stats.spearmanr), (kendall, stats.kendalltau)])
def test_rank_correlations_are_scipys(function, reference):
    random = np.random.default_rng(0)
    a, b = random.integers(0, 9, 30).astype(float), random.normal(size=30)
    found, expected = function(list(a), list(b)), reference(a, b)
    assert (found.r, found.p) == pytest.approx((expected.statistic, expected.pvalue))
    assert function([1, 1, 1], [1, 2, 3]).reason == "the first variable is constant"


def test_the_interval_covers_the_correlation_of_the_source():
    """Of 95 % intervals of 40 pairs with r = 0.6, about 95 % hold it."""
    random = np.random.default_rng(0)
    held = 0
    for seed in range(300):
        x, noise = random.normal(size=(2, 40))
        low, high = bootstrap_interval(list(x), list(0.6 * x + 0.8 * noise), 400, seed)
        held += low <= 0.6 <= high
    assert 0.88 <= held / 300 <= 0.98


def test_the_interval_is_that_of_scipys_percentile_bootstrap():
    x, noise = np.random.default_rng(1).normal(size=(2, 50))
    y = x + noise
    low, high = bootstrap_interval([*x, None], [*y, 3.0], 20_000)
    settings = {"paired": True, "vectorized": True, "n_resamples": 20_000, "method": "percentile"}
    drawn = stats.bootstrap(
        (x, y), lambda a, b, axis: stats.pearsonr(a, b, axis=axis).statistic, rng=np.random.default_rng(2), **settings
    )
    expected = drawn.confidence_interval
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=0.01)


def test_an_undefined_correlation_has_no_interval():
    assert np.isnan(bootstrap_interval([1, 1, 1], [1, 2, 3])).all()
    for a, b in (([1, 2, 2], [3, 4, 5]), ([3, 4, 5], [1, 2, 2])):
        low, high = bootstrap_interval(a, b)
        assert -1 <= low <= high <= 1
    with pytest.raises(ValueError, match="level"):
        bootstrap_interval([1, 2, 3], [1, 2, 3], level=1.0)


def test_correction_by_hand():
    # Sorted p times n over rank, and never above what comes after: 0.03, 0.03, 0.04 of n = 3.
    assert corrected([0.04, 0.01, math.nan, 0.02]) == pytest.approx([0.04, 0.03, math.nan, 0.03], nan_ok=True)
    assert corrected([]) == []
    assert all(math.isnan(p) for p in corrected([math.nan]))


def test_regret_is_what_the_choice_loses():
    accuracy = [0.5, 0.9, 0.7, None]
    assert regret([1, 2, 3, 9], accuracy) == pytest.approx(0.2)
    assert regret([3, 1, 2, 0], accuracy, lower_is_better=True) == 0
    assert regret([2, 2, 1, 0], accuracy) == pytest.approx(0.4), "of equals the first"
    assert regret([None, math.nan], [0.5, 0.6]) is None


def test_an_outlier_on_both_sides_leaves_no_draw_out():
    """Draws without it, a third of them, have r = -1; those with it have r = 1."""
    a, b = [1e9, *range(1, 10)], [1e9, *range(9, 0, -1)]
    low, high = bootstrap_interval(a, b)
    assert (low, high) == pytest.approx((-1, 1), abs=1e-6)


def test_a_draw_of_one_value_is_left_out_and_one_of_two_near_values_is_not():
    """Of three pairs the two near ones are drawn alone as well: then they decide, r = -1."""
    low, high = bootstrap_interval([0.0, 1e-6, 1.0], [1e-6, 0.0, 1.0])
    assert (low, high) == pytest.approx((-1, 1), abs=1e-6)


def test_ranks_and_draws_beside_a_value_that_dwarfs_the_others():
    a, b = [1e300, 1e-30, 2e-30, 3e-30], [4.0, 1.0, 2.0, 3.0]
    assert spearman(a, b).r == kendall(a, b).r == pytest.approx(1)
    low, high = bootstrap_interval([1.0, 1e-170, 2e-170, 3e-170, 5e-170], [1.0, 2.0, 3.0, 4.0, 4.0])
    assert -1 <= low <= high <= 1


def test_no_draw_that_varies_no_interval():
    assert np.isnan(bootstrap_interval([1, 2, 2], [1, 2, 2], resamples=2)).all()


@pytest.mark.parametrize("function", [pearson, spearman, kendall])
@pytest.mark.parametrize("scale", [1e308, 1e-308])
def test_values_as_large_or_small_as_there_are(function, scale):
    a, b = np.array([-1.0, 1.0, 0.5, 0.25]), np.array([1.0, -0.5, -1.0, 0.0])
    with np.errstate(over="raise", invalid="raise"):
        assert function(list(scale * a), list(scale * b)) == pytest.approx(function(list(a), list(b)))
        assert bootstrap_interval(list(scale * a), list(b)) == pytest.approx(bootstrap_interval(list(a), list(b)))


@pytest.mark.parametrize("seed", range(5))
def test_given_a_third_variable_it_is_the_textbook_formula_of_the_three_correlations(seed):
    rng = np.random.default_rng(seed)
    epoch = np.cumsum(rng.integers(1, 20, 12)).tolist()
    a, b = (0.1 * np.array(epoch) + rng.normal(size=12) for _ in range(2))
    ab, ae, be = (stats.pearsonr(*pair).statistic for pair in ((a, b), (a, epoch), (b, epoch)))
    expected = (ab - ae * be) / ((1 - ae**2) * (1 - be**2)) ** 0.5
    found = partial_correlation([*a, None, 3.0], [*b, 1.0, math.nan], [*epoch, 500, 600])
    assert found.r == pytest.approx(expected)
    t = expected * (9 / (1 - expected**2)) ** 0.5
    assert found.p == pytest.approx(2 * stats.t.sf(abs(t), 9))
    assert found.n == 12


def test_what_only_rises_with_the_epoch_knows_nothing_more():
    epochs = [0, 10, 20, 30, 40, 50]
    bumps = np.array([0.0, 0.3, -0.2, 0.1, -0.3, 0.1])
    assert pearson(np.array(epochs) + 9 * bumps, np.array(epochs) - 9 * bumps).r > 0.9
    assert partial_correlation(np.array(epochs) + 9 * bumps, np.array(epochs) - 9 * bumps, epochs).r < -0.9


@pytest.mark.parametrize(
    ("a", "given", "reason"),
    [
        ([1, 2, 3, None], [1, 2, 3, 4], "needs at least 4"),
        ([1, 2, 4, 3], [5, 5, 5, 5], "the given variable is constant"),
        ([1, 3, 5, 7], [1, 2, 3, 4], "the first variable is a straight line"),
        ([2, 2, 2, 2], [1, 2, 3, 4], "the first variable is a straight line"),
    ],
)
def test_what_has_no_partial_correlation_has_a_reason(a, given, reason):
    found = partial_correlation(a, [1, 2, 4, 3], given)
    assert math.isnan(found.r)
    assert reason in found.reason


def test_choices_without_a_metric():
    assert lost_by_the_last([0.25, 0.75, 0.5]) == 0.25
    assert lost_at_random([0.25, 0.75, None, 0.5]) == 0.25
    assert lost_by_the_last([0.25, 0.75, None]) is None, "the last has no accuracy"
    assert lost_by_the_last([]) is lost_by_the_last([None]) is lost_at_random([None]) is None
