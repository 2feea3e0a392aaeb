"""What the metrics promise for embeddings of any size, spectrum and scale."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ortho_group

from sslmlflow.metrics.partition import silhouettes
from sslmlflow.metrics.unlabelled.clid import cluster_learnability
from sslmlflow.metrics.unlabelled.coding_rate import (
    adjusted_mean_and_resolution,
    coding_rate_reduction_pairs,
    coding_rate_reduction_soft,
    unit_rows,
)
from sslmlflow.metrics.unlabelled.entropy import histogram_entropy
from sslmlflow.metrics.unlabelled.hypersphere import alignment_loss, infonce, retrieval_accuracy, uniformity_loss
from sslmlflow.metrics.unlabelled.lidar import lidar
from sslmlflow.metrics.unlabelled.spectrum import alpha_req, effective_rank, rankme, stable_rank
from tests.metrics.test_every_metric import METRICS, numbers

# The same examples in every run: a failure that comes and goes helps nobody.
few = settings(max_examples=8, deadline=None, derandomize=True, database=None)


@st.composite
def views(draw: st.DrawFn, least: int = 12, noise: float | None = None) -> np.ndarray:
    """Two views (2, n, d) with a spectrum that falls more or less steeply, and more or less noise."""
    n, d = draw(st.integers(least, 60)), draw(st.integers(3, 12))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    axes = np.arange(1, d + 1) ** -draw(st.floats(0, 1.5))
    level = draw(st.floats(0.05, 1.0)) if noise is None else noise
    made: np.ndarray = (random.normal(size=(1, n, d)) + level * random.normal(size=(2, n, d))) * axes
    return made


TURNED = (
    *("unit rows, then coding_rate", "pairs", "pooled", "adjusted", "soft", "soft, top 2", "rankme", "stable rank"),
    *("effective rank", "alpha-ReQ", "spectrum", "lidar", "alignment", "uniformity", "retrieval", "InfoNCE"),
    *("intrinsic dimension", "neighbours", "silhouette", "labels", "5-NN", "weighted k-NN"),
)
# The others depend on the order: shifts, draws and halves are of it.
SHUFFLED = (
    *("unit rows, then coding_rate", "pairs", "pooled", "soft", "rankme", "stable rank", "effective rank"),
    *("alpha-ReQ", "spectrum", "lidar", "alignment", "uniformity", "retrieval", "intrinsic dimension", "entropy"),
    *("robust entropy", "InfoNCE"),
)
SCALED = (
    *("rankme", "stable rank", "effective rank", "alpha-ReQ", "alignment", "uniformity", "retrieval"),
    *("intrinsic dimension", "entropy", "robust entropy", "k-means", "silhouette", "5-NN", "weighted k-NN"),
    *("standardised probe", "learnability", "lidar", "InfoNCE"),
)


@pytest.mark.parametrize("name", TURNED)
@given(made=views(), seed=st.integers(0, 1000))
@few
def test_a_rotation_changes_nothing(name: str, made: np.ndarray, seed: int) -> None:
    turned = made @ ortho_group.rvs(made.shape[2], random_state=seed)
    assert list(numbers(METRICS[name](turned))) == pytest.approx(list(numbers(METRICS[name](made))), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("name", SHUFFLED)
@given(made=views(), seed=st.integers(0, 1000))
@few
def test_the_order_of_the_images_changes_nothing(name: str, made: np.ndarray, seed: int) -> None:
    shuffled = made[:, np.random.default_rng(seed).permutation(made.shape[1])]
    expected = pytest.approx(list(numbers(METRICS[name](made))), rel=1e-7, abs=1e-9)
    assert list(numbers(METRICS[name](shuffled))) == expected


@pytest.mark.parametrize("name", SCALED)
@given(made=views(), scale=st.sampled_from([1e-12, 0.37, 1e9]))
@few
def test_the_scale_of_the_whole_changes_nothing(name: str, made: np.ndarray, scale: float) -> None:
    expected = pytest.approx(list(numbers(METRICS[name](made))), rel=1e-6, abs=1e-9)
    assert list(numbers(METRICS[name](scale * made))) == expected


# Counts change by whole images, a singular value that is nearly zero by more than itself: these have no such bound.
JUMPING = {"5-NN", "weighted k-NN", "retrieval", "soft, top 2", "entropy", "robust entropy", "spectrum", "neighbours"}


@pytest.mark.parametrize("name", sorted({*TURNED, *SHUFFLED} - JUMPING))
@given(made=views())
@few
def test_single_precision_costs_no_more_than_a_thousandth(name: str, made: np.ndarray) -> None:
    single = list(numbers(METRICS[name](made.astype(np.float32))))
    assert single == pytest.approx(list(numbers(METRICS[name](made))), rel=1e-3, abs=1e-4)


@given(made=views())
@settings(few, max_examples=40)
def test_values_lie_in_their_ranges(made: np.ndarray) -> None:
    _, n, d = made.shape
    unit, slack = unit_rows(made), 1e-9
    rates = coding_rate_reduction_pairs(unit)
    assert -slack <= rates.dR <= rates.R <= rates.R_max * (1 + slack)
    assert -slack <= rates.U <= 1 + slack
    assert -slack <= rates.A <= 1 + slack
    for rank in (rankme, stable_rank):
        assert 1 - slack <= rank(made[0]) <= min(n, d) * (1 + 1e-5)
    assert 1 - slack <= effective_rank(made[0]) <= min(n - 1, d) * (1 + slack)
    assert alpha_req(made[0]) >= -slack
    assert 1 - slack <= lidar(made) <= d * (1 + 1e-5)
    assert 0 <= alignment_loss(made) <= 4 + slack
    assert -8 - slack <= uniformity_loss(made[0]) <= slack
    assert 0 <= retrieval_accuracy(made) <= 1
    assert 0 <= infonce(made) <= np.log(n) + 20, "cosines differ by 2 at most, over a temperature of 0.1"
    classes = np.arange(n) % 3
    assert -1 <= silhouettes(made[0], {"classes": classes})["classes"] <= 1
    assert 0 <= cluster_learnability(made[0], classes) <= 1
    for robust in (False, True):
        assert -slack <= histogram_entropy(made[0, :, :3], robust=robust) <= np.log(n) + slack


@pytest.mark.parametrize("normalise", ["sample", "anchor"])
@given(made=views(), tau=st.floats(0.05, 5.0))
@few
def test_soft_classes_reduce_no_rate_below_zero(normalise: str, made: np.ndarray, tau: float) -> None:
    soft = coding_rate_reduction_soft(unit_rows(made[0]), tau=tau, normalise=normalise)
    # Only `sample` gives every image classes that sum to one, on which the reduction is never negative.
    assert normalise == "anchor" or float(soft.dR) >= -1e-9
    assert float(soft.Rc) >= -1e-9


@given(seed=st.integers(0, 10_000))
@settings(few, max_examples=5)
def test_pure_noise_scores_nothing_when_adjusted_and_noise_that_is_added_lowers_it(seed: int) -> None:
    random = np.random.default_rng(seed)
    noise = random.normal(size=(2, 200, 24))
    assert abs(float(adjusted_mean_and_resolution(unit_rows(noise)).mean)) < 0.4
    signal = random.normal(size=(1, 200, 24))
    scores = [float(adjusted_mean_and_resolution(unit_rows(signal + level * noise)).mean) for level in (0.1, 0.5, 2.0)]
    assert scores[0] > scores[1] > scores[2]
