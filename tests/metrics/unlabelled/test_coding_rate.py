"""Coding rates against vectors that a separate, straightforward NumPy program computed from the equations."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from sslmlflow.metrics.unlabelled.coding_rate import (
    adjusted_mean_and_resolution,
    coding_rate,
    coding_rate_reduction_adjusted,
    coding_rate_reduction_pairs,
    coding_rate_reduction_pooled,
    unit_rows,
)

VECTORS = Path(__file__).parents[2] / "vectors"
KINDS = {
    "numpy64": (lambda x: np.array(x, np.float64), 1e-9),
    "numpy32": (lambda x: np.array(x, np.float32), 1e-5),
    "torch64": (lambda x: torch.tensor(x, dtype=torch.float64), 1e-9),
    "torch32": (lambda x: torch.tensor(x, dtype=torch.float32), 1e-5),
}


def cases(topic):
    return [pytest.param(c, id=c["name"]) for c in json.loads((VECTORS / f"{topic}.json").read_text())["cases"]]


@pytest.fixture(params=KINDS)
def kind(request):
    make, rtol = KINDS[request.param]
    return make, lambda expected: pytest.approx(expected, rel=rtol, abs=rtol / 100)


@pytest.mark.parametrize("case", cases("coding_rate"))
def test_rate(case, kind):
    make, close = kind
    rate = float(coding_rate(make(case["Z"]), case["eps"]))
    assert rate == close(case["R_nats"])
    assert rate / math.log(2) == close(case["R_bits"])


@pytest.mark.parametrize("case", cases("view_pairs"))
def test_pairs(case, kind):
    make, close = kind
    rates = coding_rate_reduction_pairs([make(view) for view in case["views"]], case["eps"])
    assert [float(rates.R), float(rates.Rc), float(rates.dR)] == close([case["R"], case["Rc"], case["dR"]])


@pytest.mark.parametrize("case", cases("normalised_parts"))
def test_parts(case, kind):
    make, close = kind
    views = make(case["views"])
    pairs = coding_rate_reduction_pairs(views, case["eps"])
    pooled = coding_rate_reduction_pooled(views, case["eps"])
    assert [pairs.R_max, float(pairs.U)] == close([case["R_max"], case["U"]])
    assert [float(part) for part in pooled] == close([case["R"], case["R_within"], case["dR_pooled"]])
    if "A" in case:
        assert [float(pairs.Rc), float(pairs.A)] == close([case["Rc_pair"], case["A"]])


@pytest.mark.parametrize("case", cases("pooled_adjusted"))
def test_adjusted(case, kind):
    make, close = kind
    views = make(case["views"])
    assert float(coding_rate_reduction_pooled(views, case["eps"]).dR) == close(case["dR_pooled"])
    adjusted = coding_rate_reduction_adjusted(views, case["eps"], case["shift"])
    assert float(adjusted.dR) == close(case["dR_pooled_adj"])
    assert float(adjusted.R_shuffled - adjusted.R_within) == close(case["dR_pooled_adj"])


def test_mean_and_resolution_come_from_three_shifts():
    views = unit_rows(np.random.default_rng(0).normal(size=(2, 7, 3)))
    values = [coding_rate_reduction_adjusted(views, shift=shift).dR for shift in (1, 2, 3)]
    result = adjusted_mean_and_resolution(views)
    assert result.mean == pytest.approx(sum(values) / 3)
    assert result.resolution == pytest.approx(max(values) - min(values))


@pytest.mark.parametrize(("dtype", "large"), [(np.float64, 1e300), (np.float32, 1e37)])
def test_unit_rows(dtype, large):
    given = np.array([[3, 4], [0, 0], [3 * large, 4 * large], [3e-13, 4e-13]], dtype)
    rows = unit_rows(given)
    assert isinstance(rows, np.ndarray)
    assert rows.dtype == dtype
    assert torch.equal(unit_rows(torch.from_numpy(given)), torch.from_numpy(rows))
    # The last row is shorter than the floor of 1e-12 and is divided by the floor.
    np.testing.assert_allclose(rows, [[0.6, 0.8], [0, 0], [0.6, 0.8], [0.3, 0.4]], rtol=1e-6)


FUNCTIONS = [
    lambda z, eps=0.5: coding_rate(z.reshape(-1, z.shape[-1]), eps),
    coding_rate_reduction_pairs,
    coding_rate_reduction_pooled,
    coding_rate_reduction_adjusted,
    adjusted_mean_and_resolution,
]


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    ("views", "eps", "message"),
    [
        (np.zeros((2, 0, 3)), 0.5, "got"),
        (np.zeros((2, 5, 0)), 0.5, "got|reshape"),
        (np.ones((2, 5, 3)), 0.0, "eps"),
        (np.ones((2, 5, 3)), -1.0, "eps"),
        (np.ones((2, 5, 3)), math.nan, "eps"),
        (np.ones((2, 5, 3)), math.inf, "eps"),
        (np.ones((2, 5, 3)), 1e-200, "eps"),
        (np.full((2, 5, 3), np.nan), 0.5, "not finite"),
        (np.full((2, 5, 3), -np.inf), 0.5, "not finite"),
        (np.ones((2, 5, 3), int), 0.5, "floats"),
    ],
)
def test_bad_input_is_refused(function, views, eps, message):
    with pytest.raises(ValueError, match=message):
        function(views, eps)


@pytest.mark.parametrize("function", FUNCTIONS[1:])
@pytest.mark.parametrize("views", [[], np.ones((5, 3)), [np.ones((5, 3)), np.ones((4, 3))], [np.ones(3)] * 2], ids=repr)
def test_misshapen_views_are_refused(function, views):
    with pytest.raises(ValueError, match=r"views|must be"):
        function(views)


def test_rate_of_lists_is_refused():
    with pytest.raises(ValueError, match="NumPy array or a torch tensor"):
        coding_rate([[1.0, 2.0]])


@pytest.mark.parametrize("function", FUNCTIONS[2:])
def test_one_view_has_no_scatter(function):
    with pytest.raises(ValueError, match="two views"):
        function(np.ones((1, 5, 3)))


def test_shift_that_mismatches_nothing_is_refused():
    with pytest.raises(ValueError, match="leaves views of one image together"):
        coding_rate_reduction_adjusted(np.random.default_rng(0).normal(size=(3, 4, 5)), shift=2)


def test_lost_precision_raises_instead_of_giving_a_wrong_number():
    line = np.random.default_rng(0).normal(size=(40, 1)) * np.random.default_rng(1).normal(size=(1, 8))
    with pytest.raises(ValueError, match="unit_rows"):
        coding_rate((1e6 * line).astype(np.float32))
    with pytest.raises(ValueError, match="unit_rows"):
        coding_rate(1e300 * line)


def test_alignment_and_uniformity_need_unit_rows():
    rates = coding_rate_reduction_pairs(3 * unit_rows(np.random.default_rng(0).normal(size=(2, 9, 4))))
    assert math.isnan(rates.U)
    assert math.isnan(rates.A)
    assert math.isnan(coding_rate_reduction_pairs(np.eye(3)[None]).A)


def test_autocast_does_not_lower_the_precision():
    views = unit_rows(torch.randn(2, 50, 16, generator=torch.Generator().manual_seed(0)))
    plain = coding_rate_reduction_pooled(views).dR
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert float(coding_rate_reduction_pooled(views).dR) == pytest.approx(float(plain), rel=1e-6)
