import numpy as np
import pytest
import torch
import torchvision

from sslmlflow.metrics.alarms import partly_collapsed
from sslmlflow.metrics.unlabelled.collapse import collapsed, lost_directions, near_duplicates

RNG = np.random.default_rng(0)
DIRECTION = RNG.normal(size=64)
COLLAPSED = {
    "zeros": (np.zeros((50, 64)), "zero"),
    "constant": (np.tile(DIRECTION, (50, 1)), "same"),
    "rounding of float32": (np.tile(DIRECTION, (50, 1)) * (1 + 1e-8 * RNG.normal(size=(50, 64))), "same"),
    "two roundings of float32": (np.tile(DIRECTION, (50, 1)) * (1 + 2e-7 * RNG.normal(size=(50, 64))), "same"),
    "tiny constant": (np.full((50, 64), 1e-20), "same"),
    "huge constant": (np.full((50, 64), 1e300), "same"),
    "line": (np.outer(RNG.normal(size=50), DIRECTION), "line"),
    "line beside the origin": (np.outer(RNG.normal(size=50), DIRECTION) + 5, "line"),
    "two points": (np.outer(RNG.integers(0, 2, size=50), DIRECTION), "line"),
    "line with a little noise": (np.outer(RNG.normal(size=50), DIRECTION) + 1e-4 * RNG.normal(size=(50, 64)), "line"),
    "line of one feature": (RNG.normal(size=(50, 1)), "line"),
}
SOUND = {
    "normal": RNG.normal(size=(50, 64)),
    "far from the origin": RNG.normal(size=(50, 64)) + 100,
    "twenty roundings of float32": np.tile(DIRECTION, (50, 1)) * (1 + 2e-6 * RNG.normal(size=(50, 64))),
    "plane": RNG.normal(size=(50, 2)) @ RNG.normal(size=(2, 64)),
    "four images": RNG.normal(size=(4, 64)),
    "small": 1e-30 * RNG.normal(size=(50, 64)),
    "large": 1e300 * RNG.uniform(-1, 1, size=(50, 64)),
    "three classes, perfectly separated": np.eye(3)[RNG.integers(0, 3, size=50)],
    "decaying spectrum": RNG.normal(size=(50, 64)) / np.arange(1, 65) ** 2,
}


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("name", COLLAPSED)
def test_collapse_is_seen(name, dtype):
    Z, reason = COLLAPSED[name]
    if np.abs(Z).max() > np.finfo(dtype).max:
        pytest.skip("not a number of this type")
    told = collapsed(Z.astype(dtype))
    assert told is not None
    assert reason in told or "zero" in told
    assert collapsed(torch.from_numpy(Z.astype(dtype))) == told


@pytest.mark.parametrize("name", SOUND)
def test_no_false_alarm(name):
    assert collapsed(SOUND[name]) is None


def natural_images(n, size):
    """Images with the power spectrum of natural ones (amplitude 1/f), correlated over the colour channels."""
    generator = torch.Generator().manual_seed(0)
    frequency = torch.fft.fftfreq(size)
    radius = (frequency[:, None] ** 2 + frequency[None] ** 2).sqrt().clamp_min(1 / size)
    noise = torch.randn(n, 3, size, size, generator=generator)
    channels = torch.fft.ifft2(torch.fft.fft2(noise) / radius).real
    mixing = torch.randn(n, 3, 3, generator=generator) + 2
    images = torch.einsum("ncd,ndhw->nchw", mixing, channels)
    return images / images.std()


ENCODERS = ["resnet18", "resnet50", "densenet121", "efficientnet_b0", "vgg11", "mobilenet_v3_large"]


@pytest.mark.parametrize("name", ENCODERS)
def test_no_untrained_encoder_is_called_collapsed(name):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = getattr(torchvision.models, name)(weights=None).eval()
    layers = list(model.children())[:-2] if name.startswith("resnet") else list(model.features)
    features = natural_images(16, 64)
    with torch.no_grad():
        for i, layer in enumerate(layers):
            features = layer(features)
            if i >= len(layers) // 2:
                assert collapsed(features.mean((2, 3))) is None, f"after layer {i}"
                assert collapsed(features[:4].mean((2, 3))) is None, f"after layer {i}, four images"


@pytest.mark.parametrize("Z", [np.eye(3), np.full((5, 2), np.nan), np.ones((2, 2, 2)), np.ones((5, 0))], ids=repr)
def test_what_cannot_be_judged_is_refused(Z):
    with pytest.raises(ValueError, match=r"at least 4|finite|must be"):
        collapsed(Z)


def measured(z):
    return {"label_free/lost_directions": lost_directions(z), "label_free/near_duplicates": near_duplicates(z)}


def test_sound_embeddings_are_not_called_partly_collapsed():
    z = np.random.default_rng(0).normal(size=(300, 32)) * np.arange(1, 33) ** -1.5
    assert lost_directions(z) == 0
    assert near_duplicates(z) == 0
    assert partly_collapsed(measured(z)) == []


def test_embeddings_of_few_dimensions_are_dimensionally_collapsed():
    random = np.random.default_rng(0)
    z = random.normal(size=(300, 5)) @ random.normal(size=(5, 32)) + 1e-4 * random.normal(size=(300, 32))
    assert lost_directions(z) == pytest.approx(27 / 32)
    (alarm,) = partly_collapsed(measured(z))
    assert alarm == "dimensional collapse: embeddings hardly vary in 84 % of their directions"


def test_few_images_have_fewer_directions_to_lose():
    z = np.random.default_rng(0).normal(size=(5, 32))
    assert lost_directions(z) == 0
    z[3:] = (z[0] + z[1]) / 2, (z[0] + z[2]) / 2
    assert lost_directions(z) == 0.5, "of four that five images can have, three of them lie in two"


def test_dense_spots_are_local_collapse():
    random = np.random.default_rng(0)
    z = random.normal(size=(300, 32))
    z[:60] = z[0] + 1e-3 * random.normal(size=(60, 32))
    assert near_duplicates(z) == pytest.approx(0.2)
    assert near_duplicates(1e20 * z) == near_duplicates(1e-60 * z) == pytest.approx(0.2)
    (alarm,) = partly_collapsed(measured(z))
    assert alarm == "local collapse: 20 % of the images have nearly the embedding of another"


@pytest.mark.parametrize(("distance", "share"), [(0.019, 1.0), (0.021, 0.0)])
def test_near_is_nearer_than_two_percent_of_the_typical_distance(distance, share):
    random = np.random.default_rng(0)
    points = random.normal(size=(150, 8))
    typical = np.sqrt(np.mean([np.sum((a - b) ** 2) for a in points for b in points]))
    step = random.normal(size=points.shape)
    twins = points + distance * typical * step / np.linalg.norm(step, axis=1, keepdims=True)
    assert near_duplicates(np.vstack([points, twins])) == share


@pytest.mark.parametrize("measure", [lost_directions, near_duplicates])
def test_where_nothing_varies_there_is_no_part(measure):
    with pytest.raises(ValueError, match="nothing varies"):
        measure(np.ones((5, 3)))


@pytest.mark.parametrize("measure", [lost_directions, near_duplicates])
def test_the_rounding_of_a_mean_is_no_variation(measure):
    with pytest.raises(ValueError, match="nothing varies in Z"):
        measure(np.repeat(np.random.default_rng(0).normal(size=(1, 40)), 50, axis=0))
