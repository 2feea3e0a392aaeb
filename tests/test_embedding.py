"""Embeddings: of the right images in the right order, and without a trace left on the encoder."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from sslmlflow.data.augmentation import Augmentation
from sslmlflow.data.preprocess import Preprocessing
from sslmlflow.data.source import ArrayImages, subset
from sslmlflow.embedding import embed_images, embed_views
from sslmlflow.encoders import Encoder
from tests.encoders.tiny import tiny_encoder

PREPROCESSING = Preprocessing(8, 3, (0.5, 0.4, 0.3), (0.25, 0.2, 0.1))
AUGMENTATION = Augmentation(8)
COUNT = 300  # more than a block


@pytest.fixture(scope="module")
def images() -> ArrayImages:
    return ArrayImages(np.random.default_rng(0).integers(0, 256, (COUNT, 3, 8, 8), np.uint8))


@pytest.fixture
def encoder() -> Encoder:
    """An encoder that has seen images, so that its BatchNorm statistics are not the initial ones."""
    made = tiny_encoder(dropout=0.5)
    with torch.no_grad():
        made(torch.randn(32, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    return made


def by_hand(encoder: Encoder, pixels: np.ndarray) -> tuple[Tensor, Tensor]:
    """Embeddings of one image after the other in eval mode, from the preprocessing written out."""
    mean = np.array(PREPROCESSING.mean)[:, None, None]
    std = np.array(PREPROCESSING.std)[:, None, None]
    encoder.eval()
    early, last = [], []
    with torch.no_grad():
        for image in pixels:
            given = torch.tensor((image / 255 - mean) / std, dtype=torch.float32)[None]
            feature_map = encoder.early(given)
            early.append(feature_map.flatten(2).mean(dim=2))
            last.append(encoder.late(feature_map))
    encoder.train()
    return torch.cat(early), torch.cat(last)


def test_every_image_has_its_embeddings_in_its_place(encoder: Encoder, images: ArrayImages) -> None:
    early, last = embed_images(encoder, images, PREPROCESSING)
    assert (early.shape, last.shape) == ((COUNT, 6), (COUNT, 12))
    assert early.dtype == last.dtype == torch.float32
    some = np.array([0, 1, 100, 255, 256, 299])
    expected_early, expected_last = by_hand(encoder, images.read(some))
    torch.testing.assert_close(early[some], expected_early, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(last[some], expected_last, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("block", [64, 299, 300, 301])
def test_the_embedding_of_an_image_does_not_depend_on_the_others(
    block: int, encoder: Encoder, images: ArrayImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = embed_images(encoder, images, PREPROCESSING)
    encoder.block = block
    for ours, theirs in zip(embed_images(encoder, images, PREPROCESSING), whole, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_the_encoder_is_left_as_it_was(training: bool, encoder: Encoder, images: ArrayImages) -> None:
    encoder.train(training)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    torch.manual_seed(5)
    random_state = torch.random.get_rng_state()
    results = [
        *embed_images(encoder, images, PREPROCESSING),
        *embed_views(encoder, images, PREPROCESSING, AUGMENTATION, seed=0),
    ]
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())
    assert all(module.training == training for module in encoder.modules())
    assert all(parameter.grad is None for parameter in encoder.parameters())
    assert not any(result.requires_grad for result in results)
    assert torch.equal(torch.random.get_rng_state(), random_state)


def test_training_mode_comes_back_after_an_error(encoder: Encoder, images: ArrayImages) -> None:
    def fail(block: Tensor, places: NDArray[np.int64]) -> Tensor:
        raise OSError("an image vanished")

    with pytest.raises(OSError, match="vanished"):
        embed_images(encoder, images, PREPROCESSING, augment=fail)
    assert encoder.training


def test_an_augmentation_sees_the_pixels_before_they_are_normalised(encoder: Encoder, images: ArrayImages) -> None:
    seen: list[Any] = []
    numbers: list[int] = []

    def mirror(block: Tensor, places: NDArray[np.int64]) -> Tensor:
        seen.append((block.dtype, block.device.type))
        numbers.extend(places)
        return block.flip(3)

    _, mirrored = embed_images(encoder, images, PREPROCESSING, augment=mirror)
    _, expected = embed_images(encoder, ArrayImages(images.read(np.arange(COUNT))[..., ::-1]), PREPROCESSING)
    torch.testing.assert_close(mirrored, expected)
    assert set(seen) == {(torch.uint8, "cpu")}
    assert numbers == list(range(COUNT))


@pytest.mark.parametrize("views", [1, 2, 3])
def test_views_are_fixed_by_their_seed(views: int, encoder: Encoder, images: ArrayImages) -> None:
    def embedded(seed: int) -> tuple[Tensor, Tensor]:
        return embed_views(encoder, images, PREPROCESSING, AUGMENTATION, seed, views)

    torch.manual_seed(1)
    early, last = embedded(3)
    torch.manual_seed(2)
    again_early, again_last = embedded(3)
    assert (early.shape, last.shape) == ((views, COUNT, 6), (views, COUNT, 12))
    assert torch.equal(early, again_early)
    assert torch.equal(last, again_last)
    # Other seeds and other views are other crops, of every image.
    others = [embedded(4)[1][0], *last[1:]]
    for other in others:
        assert (last[0] - other).abs().amax(dim=1).min() > 0


@pytest.mark.parametrize("block", [1, 48, 299, 1000])
def test_views_do_not_depend_on_the_block(block: int, encoder: Encoder, images: ArrayImages) -> None:
    whole = embed_views(encoder, images, PREPROCESSING, AUGMENTATION, seed=3)
    encoder.block = block
    for ours, theirs in zip(embed_views(encoder, images, PREPROCESSING, AUGMENTATION, seed=3), whole, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_views_depend_neither_on_the_other_images_nor_on_how_many_views_there_are(
    encoder: Encoder, images: ArrayImages
) -> None:
    whole = embed_views(encoder, images, PREPROCESSING, AUGMENTATION, seed=3, views=3)[1]
    places = np.random.default_rng(1).permutation(COUNT)[:70]
    some = embed_views(encoder, subset(images, places), PREPROCESSING, AUGMENTATION, seed=3, places=places)[1]
    torch.testing.assert_close(some, whole[:2, places], rtol=1e-4, atol=1e-5)


def test_views_that_change_nothing_are_the_images(encoder: Encoder, images: ArrayImages) -> None:
    """With nothing left to chance every view is the image itself, in its place."""
    nothing = Augmentation(8, scale=(1.0, 1.0), ratio=(1.0, 1.0), jitter_p=0, gray_p=0, flip_p=0)
    early, last = embed_views(encoder, images, PREPROCESSING, nothing, seed=0, views=3)
    expected_early, expected_last = embed_images(encoder, images, PREPROCESSING)
    for view in range(3):
        torch.testing.assert_close(early[view], expected_early, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(last[view], expected_last, rtol=1e-4, atol=1e-5)


def test_gray_images_are_embedded(encoder: Encoder) -> None:
    gray = ArrayImages(np.random.default_rng(0).integers(0, 256, (5, 1, 8, 8), np.uint8))
    preprocessing = Preprocessing(8, 1, (0.5,), (0.25,))
    assert embed_images(encoder, gray, preprocessing)[1].shape == (5, 12)
    assert embed_views(encoder, gray, preprocessing, AUGMENTATION, seed=0)[1].shape == (2, 5, 12)
