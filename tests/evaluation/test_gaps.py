"""How much better an encoder is on the images that it trains on, and the alarm that this gives."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from sslmlflow.data.preprocess import Preprocessing
from sslmlflow.data.source import ArrayImages
from sslmlflow.encoders import EncoderSpec, build_encoder
from sslmlflow.evaluation.gaps import Side, gaps, side
from sslmlflow.evaluation.monitor import Monitor
from sslmlflow.methods import Method, build_method
from sslmlflow.metrics.alarms import RESOLUTION, memorising
from sslmlflow.metrics.catalogue import GAP_CRR, GAP_LOSS, GAP_RETRIEVAL, HELD_OUT_LOSS, SEEN_CRR, SEEN_RETRIEVAL
from sslmlflow.metrics.unlabelled.shifts import fixed_shifts
from sslmlflow.reporting.memorisation import memorised
from tests.methods.batch import MIDWAY
from tests.reporting.histories import made_history

PREPROCESSING = Preprocessing(16, 3, (0.5,) * 3, (0.25,) * 3)


def pixels(count: int, seed: int) -> NDArray[np.uint8]:
    """Images with a colour and a texture of their own."""
    random = np.random.default_rng(seed)
    colours = random.integers(60, 196, (count, 3, 1, 1))
    return (colours + random.integers(-60, 60, (count, 3, 4, 4)).repeat(4, 2).repeat(4, 3)).astype(np.uint8)


def monitor(held_out: int, train: int) -> Monitor:
    images = ArrayImages(pixels(held_out, 0))
    seen = ArrayImages(pixels(train, 1))
    return Monitor(images, PREPROCESSING, "layer3", images=held_out, eps=0.5, seed=3, train=seen)


@pytest.fixture
def method() -> Method:
    options = "hidden_width=32,projection_width=16"
    return build_method("simclr", options, build_encoder(EncoderSpec(width=4, image_size=16), seed=0), seed=0)


def adjusted(z: NDArray[np.float64]) -> float:
    """The mean over three shifts of the rate of mismatched images less that of true ones, eps = 0.5."""
    z = z / np.linalg.norm(z, axis=2, keepdims=True)

    def within(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
        half = (first - second) / 2
        scatter = 2 * half.T @ half / len(first)
        return float(np.linalg.slogdet(np.eye(z.shape[2]) + z.shape[2] / 0.25 * scatter)[1] / 2)

    return float(
        np.mean([within(z[0], np.roll(z[1], -shift, 0)) for shift in fixed_shifts(2, len(z[0]))]) - within(z[0], z[1])
    )


def retrieval(z: NDArray[np.float64]) -> float:
    z = z / np.linalg.norm(z, axis=2, keepdims=True)
    cosines = z[0] @ z[1].T
    here = np.arange(len(cosines))
    return float(np.mean([cosines.argmax(0) == here, cosines.argmax(1) == here]))


def test_gaps_are_those_of_equally_many_images(method: Method) -> None:
    watching = monitor(held_out=300, train=120)
    scores, _ = watching.measure(method.encoder, method)
    seen = watching._training
    assert seen is not None
    assert len(seen) == 120
    unseen = watching.held_out.part(watching.held_out.rows(120))
    of_seen, of_unseen = (side.embed(method.encoder)[1].double().numpy() for side in (seen, unseen))
    assert scores.values[GAP_RETRIEVAL] == pytest.approx(retrieval(of_seen) - retrieval(of_unseen))
    assert scores.values[GAP_CRR] == pytest.approx(adjusted(of_seen) - adjusted(of_unseen), abs=2e-3)
    assert scores.values[SEEN_RETRIEVAL] == pytest.approx(retrieval(of_seen))
    assert scores.values[SEEN_CRR] == pytest.approx(adjusted(of_seen), abs=2e-3)
    low, high = (scores.values[f"{GAP_CRR}_{end}"] for end in ("low", "high"))
    assert low < scores.values[GAP_CRR] < high
    assert scores.values[GAP_LOSS] == pytest.approx(_loss(method, unseen) - _loss(method, seen), rel=1e-3, abs=1e-5)


def _loss(method: Method, side: object) -> float:
    projections = side.project(method)  # type: ignore[attr-defined]
    order = np.random.default_rng(3).permutation(120)
    halves = [{key: of[rows] for key, of in projections.items()} for rows in (order[:60], order[60:])]
    return float(np.mean([method.loss(half, MIDWAY)["loss"].item() for half in halves]))


def test_an_encoder_that_was_not_trained_gives_no_alarm(method: Method) -> None:
    scores, _ = monitor(held_out=200, train=200).measure(method.encoder, method)
    assert scores.values[f"{GAP_CRR}_low"] < 0 < scores.values[f"{GAP_CRR}_high"]
    assert abs(scores.values[GAP_RETRIEVAL]) < 0.1
    assert memorising(scores.values) == []


def test_without_a_method_there_is_neither_loss_nor_gap(method: Method) -> None:
    scores, _ = monitor(held_out=40, train=40).measure(method.encoder)
    assert not {HELD_OUT_LOSS, GAP_CRR, GAP_LOSS} & {*scores.values, *scores.undefined}


@pytest.mark.parametrize("name", ["simclr", "simsiam"])
def test_what_collapsed_has_neither_loss_nor_gap_and_the_reason(name: str) -> None:
    method = build_method(name, None, build_encoder(EncoderSpec(width=4, image_size=16), seed=0), seed=0)
    for parameter in method.encoder.parameters():
        nn.init.zeros_(parameter)
    scores, _ = monitor(held_out=40, train=40).measure(method.encoder, method)
    for key in (HELD_OUT_LOSS, GAP_CRR, GAP_RETRIEVAL, GAP_LOSS):
        assert key not in scores.values
        assert "collapsed" in scores.undefined[key]


def made_side(method: Method, agreement: float, seed: int) -> Side:
    """Of embeddings whose views agree so far, and projections likewise."""
    random = np.random.default_rng(seed)
    own, noise = random.normal(size=(1, 200, 12)), random.normal(size=(2, 200, 12))
    z = torch.from_numpy(agreement * own + (1 - agreement) * noise).float()
    return side(method, z, {"first": z[0], "second": z[1]}, eps=0.5, seed=0)


def test_what_was_learnt_by_heart_has_gaps_and_gives_the_alarm(method: Method) -> None:
    found = gaps(made_side(method, 0.9, seed=0), made_side(method, 0.5, seed=1)).values
    assert found[f"{GAP_CRR}_low"] > 0
    assert found[GAP_RETRIEVAL] > 0.2
    assert found[GAP_LOSS] > 0.2
    assert memorising({**found, RESOLUTION: 0.1})
    alike = gaps(made_side(method, 0.7, seed=0), made_side(method, 0.7, seed=1)).values
    assert alike[f"{GAP_CRR}_low"] < 0 < alike[f"{GAP_CRR}_high"]
    assert memorising({**alike, RESOLUTION: 0.1}) == []
    worse = gaps(made_side(method, 0.5, seed=0), made_side(method, 0.9, seed=1)).values
    assert memorising({**worse, RESOLUTION: 0.1}) == []


SEEN = {
    GAP_CRR: 3.8,
    f"{GAP_CRR}_low": 3.1,
    f"{GAP_CRR}_high": 4.5,
    GAP_RETRIEVAL: 0.27,
    SEEN_CRR: 11.5,
    SEEN_RETRIEVAL: 0.59,
    RESOLUTION: 0.4,
}


@pytest.mark.parametrize(
    ("other", "alarm"),
    [
        ({}, True),
        ({f"{GAP_CRR}_low": -0.1}, False),
        ({GAP_RETRIEVAL: 0.0}, False),
        ({SEEN_CRR: 40.0}, False),  # the gap is small beside what there is
        ({RESOLUTION: 12.0}, False),  # there is no signal
    ],
)
def test_the_alarm_takes_a_gap_that_is_more_than_chance_and_not_small(other: dict[str, float], alarm: bool) -> None:
    assert bool(memorising({**SEEN, **other})) == alarm


@pytest.mark.parametrize("lacking", list(SEEN))
def test_without_all_evidence_there_is_no_alarm(lacking: str) -> None:
    assert memorising({key: value for key, value in SEEN.items() if key != lacking}) == []


def test_the_alarm_names_its_evidence() -> None:
    (words,) = memorising(SEEN)
    assert words == (
        "it memorises: adjusted CRR 11.50 of training images, 7.70 of as many held-out ones (gap 3.80, 95 % interval "
        "3.10 to 4.50); retrieval 0.59 and 0.32"
    )
    (at_the_start,) = memorising(SEEN, first=True)
    assert at_the_start == words.replace(
        "it memorises", "training images do better from the first milestone on, so no later alarm counts"
    )


def test_a_training_without_the_alarm_is_told_its_gap() -> None:
    columns = {key: [-1.0, value] for key, value in {**SEEN, f"{GAP_CRR}_low": -0.25}.items()}
    assert memorised(made_history(columns)) == (
        "No milestone shows memorisation: the gap of adjusted CRR to training images is 3.80 nats at the last one (95 "
        "% interval -0.25 to 4.50)."
    )
    assert memorised(made_history({SEEN_CRR: [1.0]})) == "", "an earlier build measured no gap"
