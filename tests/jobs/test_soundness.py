"""The loss on held-out images and the objective with noise, against their definitions."""

import numpy as np
import pytest
import torch

from sslmlflow.data.preprocess import Preprocessing
from sslmlflow.data.source import ArrayImages
from sslmlflow.data.views import Augmentation, fixed_views
from sslmlflow.encoders import EncoderSpec, build_encoder
from sslmlflow.jobs.monitor import Monitor
from sslmlflow.jobs.soundness import held_out_loss, objective_with_noise
from sslmlflow.methods import Method, build_method

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


def test_the_loss_is_the_mean_of_full_batches_of_fixed_views(method: Method, monitor: Monitor) -> None:
    mean, std = PREPROCESSING.tensors(torch.device("cpu"))
    losses = []
    with torch.no_grad():
        for start in (0, 16):  # the last 8 of 40 do not fill a batch
            batch = np.arange(start, start + 16)
            images = torch.from_numpy(monitor.images.read(batch))
            views = fixed_views(images, Augmentation(32), mean, std, batch, monitor.seed)
            losses.append(method.loss(method.project(views))["loss"].item())
    found = held_out_loss(method, monitor, 16)
    assert found == pytest.approx(np.mean(losses))
    assert held_out_loss(method, monitor, 16) == found
    assert held_out_loss(method, monitor, 1000) > found, "with more negatives it is higher"


def test_it_is_measured_in_eval_mode_and_changes_no_tensor(method: Method, monitor: Monitor) -> None:
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    evaluated = held_out_loss(method, monitor, 16)
    assert all(tensor.equal(before[name]) for name, tensor in method.state_dict().items())
    method.train()
    assert held_out_loss(method, monitor, 16) == evaluated


def test_noise_raises_the_pair_rate_and_lowers_the_adjusted_one(method: Method) -> None:
    """Of images that have a colour each, and embeddings whose directions are more than their common mean."""
    random = np.random.default_rng(0)
    monitor = monitored(random.integers(40, 216, (200, 3, 1, 1)) + random.integers(-40, 40, (200, 3, 32, 32)))
    width = method.encoder.embedding_width
    centre = torch.nn.Linear(width, width)
    with torch.no_grad():
        centre.weight.copy_(torch.eye(width))
        centre.bias.copy_(-monitor.embed(method.encoder)[1].mean((0, 1)))
    method.encoder.late = torch.nn.Sequential(method.encoder.late, centre)
    scores, _ = monitor.measure(method.encoder)
    pair, adjusted = (f"label_free/{name}" for name in ("crr", "crr_adjusted"))
    noisy = {key: objective_with_noise(method, monitor, key) for key in (pair, adjusted)}
    assert noisy[pair] is not None
    assert noisy[adjusted] is not None
    assert noisy[pair] > scores.values[pair]
    assert noisy[adjusted] < scores.values[adjusted]
    assert objective_with_noise(method, monitor, "label_free/entropy") is None
