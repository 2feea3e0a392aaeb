"""Histogram entropies against vectors that a separate NumPy program computed from the definition, and properties."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from sslmlflow.metrics.unlabelled.entropy import far_from_the_rest, histogram_entropy

CASES = json.loads((Path(__file__).parents[2] / "vectors" / "entropy_histogram.json").read_text())["cases"]


@pytest.fixture
def normal():
    return np.random.default_rng(0).normal(size=(500, 3))


def with_outlier(Z):
    return np.vstack([Z, np.full((1, Z.shape[1]), 1000.0)])


@pytest.mark.parametrize("make", [np.array, lambda x: torch.tensor(x, dtype=torch.float64)], ids=["numpy", "torch"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_reference_values(case, make):
    assert histogram_entropy(make(case["Z3"]), case["width_sigma"]) == pytest.approx(case["H_nats"], rel=1e-9)


def robust_from_the_definition(Z, width):
    bins = []
    for axis in Z.T:
        mad = np.median([abs(value - np.median(axis)) for value in axis])
        bins.append([math.floor((value - min(axis)) / (width * 1.4826 * mad)) for value in axis])
    rows = list(zip(*bins, strict=True))
    return -sum(rows.count(row) / len(rows) * math.log(rows.count(row) / len(rows)) for row in set(rows))


@pytest.mark.parametrize("width", [0.4, 0.8, 2.0])
def test_robust_deviation_is_that_of_the_median(normal, width):
    expected = robust_from_the_definition(normal[:200], width)
    assert histogram_entropy(normal[:200], width, robust=True) == pytest.approx(expected)


def test_the_papers_width_is_the_default(normal):
    assert histogram_entropy(normal) == histogram_entropy(normal, width=0.4) != histogram_entropy(normal, width=0.8)


@pytest.mark.parametrize("robust", [False, True])
def test_between_zero_and_the_logarithm_of_the_rows(normal, robust):
    assert 0 < histogram_entropy(normal, robust=robust) < math.log(500)
    assert histogram_entropy(normal, width=1e-6, robust=robust) == pytest.approx(math.log(500))
    assert histogram_entropy(normal, width=1e6, robust=robust) == 0


@pytest.mark.parametrize("robust", [False, True])
@pytest.mark.parametrize(("scale", "shift"), [(1, -50), (1e-6, 0), (1e6, 3), ([1, 20, 300], [7, 0, -7])])
def test_shift_and_scale_do_not_matter(normal, robust, scale, shift):
    moved = histogram_entropy(normal * scale + shift, robust=robust)
    # Rows on the very edge of a bin may be rounded into the next one.
    assert moved == pytest.approx(histogram_entropy(normal, robust=robust), abs=0.01)


def test_an_outlier_collapses_the_plain_form_only(normal):
    assert histogram_entropy(with_outlier(normal)) < 0.1 * histogram_entropy(normal)
    robust = histogram_entropy(normal, robust=True)
    assert histogram_entropy(with_outlier(normal), robust=True) == pytest.approx(robust, rel=0.02)


def test_an_outlier_beyond_every_integer_is_one_bin(normal):
    far = np.vstack([normal, np.full((1, 3), 1e30)])
    with_near = np.vstack([normal, np.full((1, 3), 1e6)])
    assert histogram_entropy(far, robust=True) == pytest.approx(histogram_entropy(with_near, robust=True))


def test_where_nothing_varies_there_is_one_bin(normal):
    assert histogram_entropy(np.full((50, 3), 0.1)) == 0
    assert histogram_entropy(np.full((50, 3), 0.1), robust=True) == 0
    flat = normal.copy()
    flat[:, 1] = 0.1
    assert histogram_entropy(flat) == pytest.approx(histogram_entropy(normal[:, [0, 2]]))


def test_an_axis_of_mostly_one_value_keeps_its_standard_deviation():
    axis = np.array([0.0] * 6 + [1.0, 2.0, 3.0, 4.0])[:, None]
    assert histogram_entropy(axis, robust=True) == pytest.approx(histogram_entropy(axis))
    assert histogram_entropy(axis, robust=True) > 0


@pytest.mark.parametrize(
    ("Z3", "width", "message"),
    [
        (np.eye(3), 0, "width"),
        (np.eye(3), -0.4, "width"),
        (np.eye(3), math.nan, "width"),
        (np.eye(3), math.inf, "width"),
        (np.full((4, 3), np.nan), 0.4, "not finite"),
        (np.zeros((0, 3)), 0.4, "at least one"),
        (np.ones(3), 0.4, "must be"),
    ],
)
def test_bad_input_is_refused(Z3, width, message):
    with pytest.raises(ValueError, match=message):
        histogram_entropy(Z3, width)


def test_far_rows_are_told_on_whatever_axis_they_lie(normal):
    far = normal.copy()
    far[7, 0], far[9, 2] = 60.0, -60.0
    assert np.flatnonzero(far_from_the_rest(far)).tolist() == [7, 9]
    assert np.flatnonzero(far_from_the_rest(1e-5 * far - 3)).tolist() == [7, 9]
    assert not far_from_the_rest(normal).any()


def test_far_is_counted_in_robust_deviations():
    # Median 0 and median absolute deviation 1: a robust deviation is 1.4826.
    rows = np.array([-1.0, -1.0, 0.0, 1.0, 1.0, 14.8, -14.9])[:, None]
    assert far_from_the_rest(rows).tolist() == [False] * 6 + [True]
    assert far_from_the_rest(rows, deviations=5).tolist() == [False] * 5 + [True] * 2


def test_an_axis_on_which_most_rows_agree_tells_of_none():
    rows = np.zeros((9, 2))
    rows[0, 0] = 1e6
    assert not far_from_the_rest(rows).any()
