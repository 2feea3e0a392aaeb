import itertools
import math
import time
import warnings

import numpy as np
import pytest
import torch

from sslmlflow.metrics.unlabelled.coding_rate import (
    coding_rate_reduction_pairs,
    coding_rate_reduction_pooled,
    directions,
    unit_rows,
)
from sslmlflow.metrics.unlabelled.layer import milestone_metrics
from sslmlflow.metrics.unlabelled.spectrum import rankme

METRICS = ["crr", "crr_R", "crr_U", "crr_A", "crr_pooled", "crr_adjusted", "crr_adjusted_resolution", "rankme"]
METRICS += ["collapsed"]
OF_THE_LAST = ["stable_rank", "alpha_req", "alignment_loss", "uniformity_loss", "retrieval", "infonce"]
OF_THE_LAST += ["lost_directions", "near_duplicates"]
NAMES = {prefix + name for prefix in ("early/", "label_free/") for name in METRICS}
NAMES |= {"label_free/" + name for name in OF_THE_LAST}


def normal(n, v=2, d=6):
    rng = np.random.default_rng(0)
    return rng.normal(size=(1, n, d)) + 0.3 * rng.normal(size=(v, n, d))


KINDS = {
    "normal": normal,
    "constant": lambda n: np.ones((2, n, 6)),
    "zeros": lambda n: np.zeros((2, n, 6)),
    "duplicates": lambda n: np.repeat(normal(1), n, axis=1),
    "paired duplicates": lambda n: np.repeat(normal((n + 1) // 2), 2, axis=1)[:, :n],
    "one NaN": lambda n: np.where(np.arange(6) + np.arange(n)[None, :, None] == 0, np.nan, normal(n)),
    "one Inf": lambda n: np.where(np.arange(6) + np.arange(n)[None, :, None] == 0, np.inf, normal(n)),
    "all NaN": lambda n: np.full((2, n, 6), np.nan),
    "1e300": lambda n: 1e300 * np.tanh(normal(n)),
    "one of 1e300": lambda n: np.where(np.arange(6) + np.arange(n)[None, :, None] == 0, 1e300, normal(n)),
    "1e-300": lambda n: 1e-300 * normal(n),
    "float16": lambda n: normal(n).astype(np.float16),
    "float32": lambda n: normal(n).astype(np.float32),
    "one zero embedding": lambda n: normal(n) * (np.arange(n) > 0)[None, :, None],
    "one view": lambda n: normal(n, v=1),
    "five views": lambda n: normal(n, v=5),
    "one feature": lambda n: normal(n, d=1),
    "more features than rows": lambda n: normal(n, d=64),
}
COLLAPSED = {"constant", "zeros", "duplicates", "one feature"}


@pytest.mark.parametrize("kind", KINDS)
def test_every_metric_is_finite_or_has_a_reason(kind):
    for n, convert in itertools.product((0, 1, 2, 3, 4, 5, 6, 7, 8, 20), (np.asarray, torch.from_numpy)):
        views = convert(KINDS[kind](n))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            results = milestone_metrics(views, views)
        assert set(results.values) | set(results.undefined) == NAMES, n
        assert not set(results.values) & set(results.undefined), n
        assert all(type(value) is float and math.isfinite(value) for value in results.values.values()), n
        assert all(len(reason) > 10 for reason in results.undefined.values()), n
        if n < 4 or "NaN" in kind or "Inf" in kind:
            assert results.values == {}, n
        elif kind in COLLAPSED:
            assert results.values == {"early/collapsed": 1.0, "label_free/collapsed": 1.0}, n
        elif kind in ("normal", "1e300", "1e-300", "float16", "float32", "more features than rows"):
            assert results.undefined == {}, n


def test_values_are_those_of_the_metrics_by_name():
    early, last = normal(30, d=4), 7 * normal(30, d=9)
    values = milestone_metrics(early, torch.from_numpy(last), eps=0.3).values
    for prefix, views in (("early/", early), ("label_free/", last)):
        pairs = coding_rate_reduction_pairs(unit_rows(views), 0.3)
        assert values[prefix + "crr"] == pytest.approx(pairs.dR)
        assert values[prefix + "crr_R"] == pytest.approx(pairs.R)
        assert values[prefix + "crr_U"] == pytest.approx(pairs.R / pairs.R_max)
        assert values[prefix + "crr_A"] == pytest.approx(pairs.A)
        assert values[prefix + "crr_pooled"] == pytest.approx(coding_rate_reduction_pooled(unit_rows(views), 0.3).dR)
        assert values[prefix + "crr_adjusted"] > values[prefix + "crr_adjusted_resolution"] > 0
        assert values[prefix + "rankme"] == pytest.approx(rankme(views[0]))
        assert values[prefix + "collapsed"] == 0.0


def test_the_seconds_of_each_computation_are_told():
    started = time.perf_counter()
    seconds = milestone_metrics(normal(200, d=64), normal(200, d=4)).seconds
    assert {"early/crr", "label_free/crr", "label_free/rankme", "label_free/infonce"} <= set(seconds)
    assert min(seconds.values()) > 0
    assert sum(seconds.values()) < time.perf_counter() - started
    collapsed = milestone_metrics(normal(30), np.ones((2, 30, 6))).seconds
    assert all(name.startswith("early/") for name in collapsed), "collapsed: none"


def test_scale_of_the_embeddings_does_not_matter():
    views = normal(30)
    expected = pytest.approx(milestone_metrics(views, views).values)
    assert milestone_metrics(1e-14 * views, 1e14 * views).values == expected


def test_one_collapsed_layer_or_view_does_not_touch_the_other_layer():
    last = normal(30)
    last[1] = 1.0
    scores = milestone_metrics(normal(30), last)
    assert scores.values["label_free/collapsed"] == 1.0
    assert "collapsed" in scores.undefined["label_free/crr_adjusted"]
    assert {name for name in scores.values if name.startswith("early/")} == {"early/" + m for m in METRICS}


def test_reasons_tell_what_is_wrong():
    broken = normal(10)
    broken[0, 3, 0] = np.nan
    scores = milestone_metrics(normal(10, v=1), broken[:1])
    assert scores.undefined["label_free/crr"] == "1 of 10 embeddings hold NaN or infinity"
    assert "two views" in scores.undefined["early/crr_pooled"]
    assert "two views" in scores.undefined["early/crr_A"]
    assert "at least 4 images, got 3" in milestone_metrics(normal(3), normal(3)).undefined["label_free/collapsed"]


def test_embeddings_that_need_gradients_are_left_alone():
    views = torch.from_numpy(normal(10)).requires_grad_()
    before = views.detach().clone()
    milestone_metrics(views, views)
    assert views.grad is None
    assert torch.equal(views, before)


@pytest.mark.parametrize(
    ("early", "last", "eps"),
    [
        (normal(5), normal(6), 0.5),
        (normal(5), normal(5, v=3), 0.5),
        (normal(5)[0], normal(5)[0], 0.5),
        (normal(5, d=0), normal(5, d=0), 0.5),
        (normal(5), normal(5), 0.0),
        (normal(5).astype(int), normal(5), 0.5),
    ],
)
def test_wrong_arguments_are_refused(early, last, eps):
    with pytest.raises(ValueError, match=r"must"):
        milestone_metrics(early, last, eps)


def test_directions_do_not_depend_on_the_scale():
    views = torch.randn(2, 12, 5, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(directions(1e-14 * views), directions(views), rtol=1e-5)


def test_retrieval_near_collapse_is_not_rounded_away():
    """Cosines differ by 5e-9 there, and norms in float32 by more."""
    random = np.random.default_rng(0)
    spread = random.normal(size=(100, 16)) + 1e-3 * random.normal(size=(2, 100, 16))
    near = (random.normal(size=16) + 1e-4 * spread).astype(np.float32)
    assert milestone_metrics(near, near).values["label_free/retrieval"] == 1
