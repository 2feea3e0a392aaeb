"""What the monitor measures on views of its own, against the definitions written out."""

import numpy as np
import pytest

from sslmlflow.data.augmentation import Augmentation
from sslmlflow.data.preprocess import Preprocessing
from sslmlflow.data.source import ArrayImages, subset
from sslmlflow.embedding import embed_views
from sslmlflow.encoders import Encoder, EncoderSpec, build_encoder
from sslmlflow.evaluation.monitor import LIDAR_IMAGES, LIDAR_VIEWS, Monitor
from sslmlflow.metrics.catalogue import CRR_ADJUSTED, LIDAR

PREPROCESSING = Preprocessing(16, 3, (0.5,) * 3, (0.25,) * 3)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return build_encoder(EncoderSpec(width=4, image_size=16), seed=0).eval()


@pytest.fixture(scope="module")
def monitor() -> Monitor:
    pixels = np.random.default_rng(0).integers(0, 256, (LIDAR_IMAGES + 100, 3, 16, 16)).astype(np.uint8)
    return Monitor(ArrayImages(pixels), PREPROCESSING, "layer3", images=LIDAR_IMAGES + 50, eps=0.5, seed=3)


def test_lidar_is_that_of_many_raw_views_of_random_images(monitor: Monitor, encoder: Encoder) -> None:
    scores, _ = monitor.measure(encoder)
    rows = monitor.held_out.rows(LIDAR_IMAGES)
    assert len(set(rows.tolist())) == LIDAR_IMAGES
    assert abs(rows.mean() - len(monitor.held_out) / 2) < 0.04 * len(rows), (
        "not the first ones, which may be of a class"
    )
    how = PREPROCESSING, Augmentation(16), monitor.seed
    images, places = subset(monitor.held_out.images, rows), monitor.held_out.places[rows]
    z = embed_views(encoder, images, *how, views=LIDAR_VIEWS, places=places)[1].double().numpy()
    means = z.mean(0)
    rows = (z - means).reshape(-1, z.shape[2])
    within = rows.T @ rows / len(rows)
    within += 1e-4 * np.trace(within) / len(within) * np.eye(len(within))
    eigenvalues = np.linalg.eigvals(np.linalg.solve(within, np.cov(means.T, bias=True))).real
    shares = eigenvalues / eigenvalues.sum() + 1e-7
    assert LIDAR_VIEWS >= 10
    assert scores.values[LIDAR] == pytest.approx(np.exp(-np.sum(shares * np.log(shares))), rel=1e-4)


def test_the_deviations_are_those_of_which_the_interval_is_made(monitor: Monitor, encoder: Encoder) -> None:
    scores, deviations = monitor.measure(encoder)
    assert len(deviations) == 100
    ends = scores.values[CRR_ADJUSTED] + np.quantile(deviations, [0.025, 0.975])
    assert ends == pytest.approx([scores.values[f"{CRR_ADJUSTED}_{end}"] for end in ("low", "high")])


def test_a_collapsed_encoder_has_neither(monitor: Monitor, encoder: Encoder) -> None:
    dead = build_encoder(EncoderSpec(width=4, image_size=16), seed=0).eval()
    for parameter in dead.parameters():
        parameter.data.zero_()
    scores, deviations = monitor.measure(dead)
    assert scores.values["label_free/collapsed"] == 1.0
    assert "collapsed" in scores.undefined[LIDAR]
    assert deviations == ()
    assert {name for name in scores.logged() if name.startswith("time/")} == {
        "time/embed_views_s",
        "time/label_free_s",
    }


def test_an_encoder_that_gives_no_numbers_leaves_everything_undefined(monitor: Monitor) -> None:
    broken = build_encoder(EncoderSpec(width=4, image_size=16), seed=0).eval()
    for parameter in broken.parameters():
        parameter.data.fill_(np.nan)
    results, deviations = monitor.measure(broken)
    assert results.values == {}
    assert "NaN" in results.undefined[LIDAR]
    assert "NaN" in results.undefined[CRR_ADJUSTED]
    assert deviations == ()
