"""The labelled side of an evaluation against scikit-learn on the embeddings of the milestone."""

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_mutual_info_score, silhouette_score
from sklearn.neighbors import KNeighborsClassifier

from sslmlflow.config.evaluate import EvaluationOptions
from sslmlflow.data.preprocess import measure_preprocessing
from sslmlflow.data.source import ArrayImages, ImageSets
from sslmlflow.embedding import embed_images
from sslmlflow.encoders import EncoderSpec, build_encoder
from sslmlflow.evaluation.embedder import Embedder
from sslmlflow.evaluation.labelled import LabelledImages
from sslmlflow.metrics.catalogue import AMI_TRUTH, KNN, SILHOUETTE_TRUTH, STANDARDISED
from sslmlflow.metrics.labelled.linear_probe import standardised_probe
from sslmlflow.milestone.milestone import Milestone

CLASSES = np.arange(120) % 3
KNOWN = np.flatnonzero(np.arange(60) % 5)  # of the held-out images, some have no label


def noisy_levels(n: int, seed: int) -> ArrayImages:
    """Noise around three levels of gray, by turns."""
    random = np.random.default_rng(seed)
    levels = 60 + 40 * (np.arange(n) % 3)[:, None, None, None]
    return ArrayImages(np.clip(random.normal(levels, 60, (n, 1, 16, 16)), 0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def milestone() -> Milestone:
    encoder = build_encoder(EncoderSpec(width=8, image_size=16), seed=0).eval()
    return Milestone(encoder, measure_preprocessing(noisy_levels(120, 0)), 0, {}, {})


@pytest.fixture(scope="module")
def embedder(milestone: Milestone) -> Embedder:
    embedder = Embedder(ImageSets("levels", noisy_levels(120, 0), noisy_levels(60, 1), ()), torch.device("cpu"))
    embedder.use(milestone)
    return embedder


def labelled(probe: str = "plain") -> LabelledImages:
    held_out = ArrayImages(noisy_levels(60, 1).read(KNOWN))
    train, options = noisy_levels(120, 0), EvaluationOptions(probe=probe)
    return LabelledImages(train, held_out, CLASSES, CLASSES[:60][KNOWN], np.arange(120), KNOWN, options)


def test_accuracies_are_those_of_the_layer_that_they_are_named_after(milestone: Milestone, embedder: Embedder) -> None:
    held_out = embed_images(milestone.encoder, noisy_levels(60, 1), milestone.preprocessing)
    train = embed_images(milestone.encoder, noisy_levels(120, 0), milestone.preprocessing)
    values = labelled().measure(embedder, held_out).values
    for prefix, layer in (("early/knn", 0), (KNN, 1)):
        model = KNeighborsClassifier(5, algorithm="brute").fit(train[layer].numpy(), CLASSES)
        assert values[prefix] == model.score(held_out[layer][KNOWN].numpy(), CLASSES[:60][KNOWN])
    for key, layer in (("early/linear_probe_standardised", 0), (STANDARDISED, 1)):
        expected = standardised_probe(train[layer], CLASSES, held_out[layer][KNOWN], CLASSES[:60][KNOWN])
        assert values[key] == expected > 1 / 3
    assert values["early/linear_probe_standardised"] != values[STANDARDISED]


def test_clusters_are_compared_with_the_classes_where_these_are_known() -> None:
    last = torch.randn(60, 5, generator=torch.Generator().manual_seed(0))
    clusters = (np.arange(60) // 7) % 4
    values = labelled().measure_clusters(clusters, last).values
    known = CLASSES[:60][KNOWN]
    assert values[AMI_TRUTH] == pytest.approx(adjusted_mutual_info_score(clusters[KNOWN], known))
    assert values[SILHOUETTE_TRUTH] == pytest.approx(silhouette_score(last[KNOWN].numpy(), known), rel=1e-5)


def test_images_are_augmented_anew_in_each_epoch(embedder: Embedder) -> None:
    draw = labelled("autoaugment")._augmented(embedder)
    first, again, second = draw(0), draw(0), draw(1)
    assert torch.equal(first, again)
    assert not torch.allclose(first, second)


def test_what_changes_an_accuracy_changes_the_digest() -> None:
    assert labelled("plain").digest != labelled("autoaugment").digest
    assert labelled("plain").truth_digest == labelled("autoaugment").truth_digest
