import numpy as np
import pytest

from sslmlflow.metrics.outliers import outlying


def learning_curve(n=41):
    return 90 - 60 * np.exp(-np.arange(n) / 3)


def marked(values, **more):
    return [i for i, is_far in enumerate(outlying(values, **more)) if is_far]


@pytest.mark.parametrize("sign", [1, -1])
def test_a_curve_that_only_rises_or_falls_has_none(sign):
    assert marked(sign * learning_curve()) == []
    assert marked(sign * np.array([10, 89, 90, 90, 90, 90, 90])) == []


@pytest.mark.parametrize("place", [1, 3, 7, 20, 38, 39])
@pytest.mark.parametrize("jump", [-25, 80])
def test_a_far_value_is_found_on_a_noisy_curve(place, jump):
    values = learning_curve() + np.random.default_rng(0).normal(scale=0.5, size=41)
    values[place] += jump
    assert marked(values) == [place]


def test_two_far_values_side_by_side_are_found():
    values = learning_curve() + np.random.default_rng(0).normal(scale=0.5, size=41)
    values[20:22] = 40
    assert marked(values) == [20, 21]


def test_noise_alone_is_seldom_marked():
    noise = np.random.default_rng(0).normal(size=(100, 41))
    assert sum(len(marked(values)) for values in noise) < 0.005 * noise.size
    assert sum(len(marked(values + learning_curve())) for values in noise) < 0.005 * noise.size


def test_a_small_ripple_on_a_steep_curve_is_not_far():
    values = np.arange(20.0)
    values[10] = 8.9
    assert marked(values) == []


def test_among_equal_values_only_rounding_is_forgiven():
    assert marked([0.3, 0.3, 0.3, 0.1 + 0.2, 0.3, 0.3, 0.3]) == []
    assert marked([0.3, 0.3, 0.3, 0.300001, 0.3, 0.3, 0.3]) == [3]


def test_scale_and_offset_do_not_matter():
    values = learning_curve() + np.random.default_rng(0).normal(scale=0.5, size=41)
    values[12] = 20
    assert marked(values) == marked(1e-6 * values) == marked(-values) == marked(values + 1000) == [12]


def test_undefined_values_are_skipped():
    values = [None, 1.0, float("nan"), 2.0, 3.0, None, 40.0, 5.0, 6.0, float("inf"), 7.0]
    assert marked(values) == [6]


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 100.0], [1.0, 100.0, 1.0], [None, None, None]])
def test_too_few_to_tell(values):
    assert outlying(values) == [False] * len(values)


def test_threshold():
    values = learning_curve() + np.random.default_rng(0).normal(scale=0.5, size=41)
    values[12] += 6
    assert marked(values) == [12]
    assert marked(values, threshold=100) == []
