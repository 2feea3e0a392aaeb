"""How the limits of a search vary over halves of the images, and the objective with noise, against definitions."""

import numpy as np
import pytest
import torch

from sslmlflow.data.preprocess import Preprocessing
from sslmlflow.data.source import ArrayImages
from sslmlflow.encoders import EncoderSpec, build_encoder
from sslmlflow.evaluation.monitor import Monitor
from sslmlflow.methods import Method, build_method
from sslmlflow.metrics.catalogue import HELD_OUT_LOSS, LIDAR
from sslmlflow.search.limit_metrics import limits_over_halves, objective_with_noise
from sslmlflow.search.limits import POOLED
from tests.methods.batch import MIDWAY

PREPROCESSING = Preprocessing(32, 3, (0.5,) * 3, (0.25,) * 3)


def monitored(pixels: np.ndarray) -> Monitor:
    images = ArrayImages(pixels.astype(np.uint8))
    return Monitor(images, PREPROCESSING, "layer3", images=len(images), eps=0.5, seed=3)


@pytest.fixture(scope="module")
def monitor() -> Monitor:
    return monitored(np.random.default_rng(0).integers(0, 256, (40, 3, 32, 32)))


@pytest.fixture
def method() -> Method:
    return build_method("simclr", None, build_encoder(EncoderSpec(width=4), seed=0), seed=0).eval()


def test_the_deviations_of_the_limits_are_those_of_halves_of_the_images(method: Method, monitor: Monitor) -> None:
    projections = monitor.held_out.project(method)
    z = monitor.held_out.embed(method.encoder)[1].double()
    unit = (z / z.norm(dim=2, keepdim=True)).numpy()
    random, losses, rates = np.random.default_rng(0), [], []
    for _ in range(100):
        rows = np.sort(random.permutation(40)[:20])  # one batch: half of all
        with torch.no_grad():
            losses.append(method.loss({name: of[rows] for name, of in projections.items()}, MIDWAY)["loss"].item())
        rates.append(pooled_reduction(unit[:, rows]))
    found = limits_over_halves(method, monitor, {HELD_OUT_LOSS: 2.0, POOLED: 1.0})
    assert found[HELD_OUT_LOSS] == pytest.approx(np.subtract(losses, np.mean(losses)), abs=1e-5)
    assert found[POOLED] == pytest.approx(np.subtract(rates, np.mean(rates)), abs=1e-3)
    assert np.std(found[HELD_OUT_LOSS]) > 1e-3
    assert list(limits_over_halves(method, monitor, {POOLED: 1.0})) == [POOLED], "what has no value has none of halves"


def pooled_reduction(z: np.ndarray) -> float:
    """Rate of all rows less that of the scatter within images, with eps = 0.5, by determinants."""
    views, n, d = z.shape
    rows, within = z.reshape(-1, d), (z - z.mean(0)).reshape(-1, d)
    scatters = rows.T @ rows / (views * n), within.T @ within / (n * (views - 1))
    of_all, of_within = (np.linalg.slogdet(np.eye(d) + d / 0.25 * scatter)[1] / 2 for scatter in scatters)
    return float(of_all - of_within)


def test_noise_raises_the_pair_rate_and_lowers_the_adjusted_one(method: Method) -> None:
    """Of images that have a colour each, and embeddings whose directions are more than their common mean."""
    random = np.random.default_rng(0)
    monitor = monitored(random.integers(40, 216, (800, 3, 1, 1)) + random.integers(-40, 40, (800, 3, 32, 32)))
    width = method.encoder.embedding_width
    centre = torch.nn.Linear(width, width)
    with torch.no_grad():
        centre.weight.copy_(torch.eye(width))
        centre.bias.copy_(-monitor.held_out.embed(method.encoder)[1].mean((0, 1)))
    method.encoder.late = torch.nn.Sequential(method.encoder.late, centre)
    scores, _ = monitor.measure(method.encoder)
    pair, adjusted = (f"label_free/{name}" for name in ("crr", "crr_adjusted"))
    noisy = {key: objective_with_noise(method, monitor, key) for key in (pair, adjusted)}
    assert noisy[pair] is not None
    assert noisy[adjusted] is not None
    assert noisy[pair] > scores.values[pair]
    assert noisy[adjusted] < scores.values[adjusted]
    for key in ("label_free/entropy", LIDAR, HELD_OUT_LOSS):
        assert objective_with_noise(method, monitor, key) is None
