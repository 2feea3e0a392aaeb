"""The loss of a method on images that it is not trained on, against its definition."""

import numpy as np
import pytest
import torch
from torch import Tensor

from sslmlflow.data.augmentation import Augmentation
from sslmlflow.data.preprocess import Preprocessing
from sslmlflow.data.source import ArrayImages
from sslmlflow.data.views import fixed_crops
from sslmlflow.encoders import EncoderSpec, build_encoder
from sslmlflow.evaluation.fixed_views import LOSS_BATCH, Watched, batched_loss
from sslmlflow.methods import Method, build_method
from sslmlflow.metrics.unlabelled.halves import over_halves
from tests.methods.batch import batch_of

PREPROCESSING = Preprocessing(16, 3, (0.5,) * 3, (0.25,) * 3)
SMALL = {
    "simclr": "hidden_width=16,projection_width=8",
    "simsiam": "projection_width=16,bottleneck_width=8",
    "moco-v2": "hidden_width=16,projection_width=8,queue_size=32",
}


def watched(count: int) -> Watched:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 3, 16, 16)).astype(np.uint8)
    places = np.arange(count) * 3  # among all held-out images
    return Watched(ArrayImages(pixels), places, PREPROCESSING, Augmentation(16), seed=3)


def small(name: str) -> Method:
    return build_method(name, SMALL[name], build_encoder(EncoderSpec(width=4, image_size=16), seed=0), seed=0)


def of_one_batch(name: str, method: Method, views: Tensor) -> float:
    """The loss of each method written out, over the views (2, n, ...) of one batch, in eval mode."""
    method.eval()
    with torch.no_grad():
        rows = {key: of.double() for key, of in method.project(batch_of(views)).items()}
    unit = {key: (of / of.norm(dim=1, keepdim=True)).numpy() for key, of in rows.items()}
    if name == "simsiam":
        first, second = (
            -(unit[f"{a}_prediction"] * unit[b]).sum(1).mean() for a, b in (("first", "second"), ("second", "first"))
        )
        return float(first + second) / 2
    if name == "moco-v2":
        cosines = unit["query"] @ unit["key"].T / 0.1
        return float(np.mean(np.log(np.exp(cosines).sum(1)) - np.diag(cosines)))
    z = np.concatenate([unit["first"], unit["second"]])
    n, powers = len(z) // 2, np.exp(z @ z.T / 0.5)
    own = [powers[i, (i + n) % (2 * n)] for i in range(2 * n)]
    return float(np.mean(np.log((powers.sum(1) - np.diag(powers)) / own)))


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(
    ("count", "sizes"), [(40, (20, 20)), (41, (21, 20)), (2 * LOSS_BATCH + 9, (131, 130, 130, 130))]
)
def test_it_is_the_mean_over_random_batches_of_two_fixed_views(name: str, count: int, sizes: tuple[int, ...]) -> None:
    method, images = small(name), watched(count)
    mean, std = PREPROCESSING.tensors(torch.device("cpu"))
    order = np.random.default_rng(images.seed).permutation(count)
    losses = []
    for batch in np.split(order, np.cumsum(sizes)[:-1]):
        pixels = torch.from_numpy(images.images.read(np.sort(batch)))
        views, _ = fixed_crops(pixels, Augmentation(16), mean, std, 3 * np.sort(batch), images.seed)
        losses.append(of_one_batch(name, method, views))
    found = batched_loss(method, images.project(method), images.seed)
    assert found == pytest.approx(np.mean(losses), rel=1e-4)
    assert found == batched_loss(method, images.project(method), images.seed)


@pytest.mark.parametrize("name", SMALL)
def test_it_is_measured_in_eval_mode_and_changes_no_tensor(name: str) -> None:
    method, images = small(name).train(), watched(40)
    before = {key: tensor.clone() for key, tensor in method.state_dict().items()}
    found = batched_loss(method, images.project(method), images.seed)
    assert method.training
    assert all(tensor.equal(before[key]) for key, tensor in method.state_dict().items())
    assert found == batched_loss(method.eval(), images.project(method), images.seed)


def test_images_that_were_trained_on_are_no_negatives() -> None:
    method, images = small("moco-v2"), watched(40)
    assert isinstance(method.queue, Tensor)
    found = batched_loss(method, images.project(method), images.seed)
    method.queue.copy_(torch.nn.functional.normalize(torch.randn(32, 8), dim=1))
    assert batched_loss(method, images.project(method), images.seed) == found


def test_rows_of_some_images_have_the_loss_of_these() -> None:
    method, images = small("simclr"), watched(40)
    rows = np.arange(3, 23)
    some = batched_loss(method, images.project(method), 0, rows)
    projected = images.part(rows).project(method)
    assert some == pytest.approx(method.held_out_loss(projected).item(), rel=1e-5)


@pytest.mark.parametrize("count", [40, 300, 1000, 1022, 1500])
def test_over_halves_it_varies_as_over_fresh_images(count: int) -> None:
    """Of projections whose loss is a mean over images: SimSiam's, of random directions."""
    method, random = small("simsiam"), np.random.default_rng(0)
    keys = "first", "second", "first_prediction", "second_prediction"
    projections = {key: torch.from_numpy(random.normal(size=(count, 16))).float() for key in keys}
    each = -sum(
        torch.nn.functional.cosine_similarity(projections[f"{a}_prediction"], projections[b])
        for a, b in (("first", "second"), ("second", "first"))
    )
    found = over_halves(0.0, lambda rows: batched_loss(method, projections, 0, rows), count, resamples=400)
    assert np.std(found.deviations) == pytest.approx(float((each / 2).std()) / count**0.5, rel=0.12)


@pytest.mark.parametrize("count", [1, 3])
def test_too_few_images_have_no_loss(count: int) -> None:
    method = small("simclr")
    with pytest.raises(ValueError, match=f"needs at least 4 images, got {count}"):
        batched_loss(method, {"first": torch.ones(count, 4), "second": torch.ones(count, 4)}, 0)


def test_a_loss_that_is_no_number_is_refused() -> None:
    method = small("simclr")
    with pytest.raises(ValueError, match="the loss is nan"):
        batched_loss(method, {"first": torch.full((8, 4), torch.nan), "second": torch.ones(8, 4)}, 0)
