"""Coding rate reduction against the labelled measures that it stands in for, and against a loop over groups.

Pair CRR of 10,000 images with 512 features in two views, float32; 5-NN and probes learn from 50,000 images and are
tested on the 10,000. Ours is measured before and after each of the others, the ratio is with the mean of the two; the
others run once each, for they take long. "With embedding" adds what a ResNet-18 takes on this machine for the images
that each needs, from a measured share of them.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from benchmarks.embeddings import embeddings
from sslmlflow.data.preprocess import Preprocessing
from sslmlflow.data.source import ArrayImages
from sslmlflow.embedding import embed_images
from sslmlflow.encoders import EncoderSpec, build_encoder
from sslmlflow.metrics.labelled.knn import knn_accuracy
from sslmlflow.metrics.labelled.linear_probe import standardised_probe
from sslmlflow.metrics.labelled.sgd_probe import sgd_probe
from sslmlflow.metrics.unlabelled.coding_rate import coding_rate_reduction_pairs, unit_rows

TRAIN, TEST, WIDTH = 50_000, 10_000, 512
EPS = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=64, help="width of the ResNet-18 that embeds")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    (train, _), y = embeddings(TRAIN, WIDTH, seed=1)
    views, y_test = embeddings(TEST, WIDTH, seed=2)
    test = views[0]
    others: dict[str, tuple[Callable[[], object], int]] = {
        "scikit-learn 5-NN": (lambda: KNeighborsClassifier(5).fit(train, y).score(test, y_test), TRAIN + TEST),
        "5-NN by matrix products": (lambda: knn_accuracy(train, y, test, y_test), TRAIN + TEST),
        "linear probe, SGD, 500 epochs": (lambda: sgd_probe(train, y, test, y_test), TRAIN + TEST),
        "linear probe, L-BFGS": (lambda: standardised_probe(train, y, test, y_test), TRAIN + TEST),
        "one Gram matrix and logdet a group": (lambda: by_groups(unit_rows(views)), 2 * TEST),
    }
    each = seconds_an_image(arguments.width)
    rows = []
    print(f"{'against':36}{'seconds':>10}{'ours':>8}{'ratio':>8}{'with embedding':>24}{'ratio':>8}", flush=True)
    ours()
    for name, (other, images) in others.items():
        before = ours(views)
        started = time.perf_counter()
        other()
        taken = time.perf_counter() - started
        own = (before + ours(views)) / 2
        whole, own_whole = taken + images * each, own + 2 * TEST * each
        rows.append([name, taken, own, taken / own, whole, own_whole, whole / own_whole])
        told = f"{whole:,.0f} / {own_whole:,.0f}"
        print(f"{name:36}{taken:10.2f}{own:8.3f}{taken / own:8.0f}{told:>24}{whole / own_whole:8.1f}", flush=True)
    if arguments.json:
        about = {"torch": torch.__version__, "threads": torch.get_num_threads(), "seconds_an_image": each}
        arguments.json.write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n")


def ours(views: Tensor | None = None) -> float:
    """Seconds of the pair CRR, scaling to unit rows included; the least of three. Without views it only warms up."""
    given = torch.rand(2, 64, WIDTH) if views is None else views
    taken = []
    for _ in range(3):
        started = time.perf_counter()
        coding_rate_reduction_pairs(unit_rows(given), EPS)
        taken.append(time.perf_counter() - started)
    return min(taken)


def by_groups(views: Tensor) -> float:
    """The same number, a group at a time."""
    v, n, d = views.shape
    scale = d / (v * EPS**2)
    within = 0.0
    for group in views.transpose(0, 1):
        within += float(torch.logdet(torch.eye(d) + scale * group.T @ group))
    z = views.flatten(0, 1)
    whole = torch.logdet(torch.eye(d, dtype=torch.float64) + d / (v * n * EPS**2) * (z.T @ z).double())
    return float(whole) / 2 - within / (2 * n)


def seconds_an_image(width: int) -> float:
    """Seconds in which a ResNet-18 embeds an image of 32 x 32 pixels; of 256, the better of two tries."""
    encoder = build_encoder(EncoderSpec("resnet18", "cifar", width, 32), seed=0).eval()
    encoder = encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = ArrayImages(np.random.default_rng(0).integers(0, 256, (256, 3, 32, 32), dtype=np.uint8))
    prepared = Preprocessing(32, 3, (0.5,) * 3, (0.25,) * 3)
    taken = []
    for _ in range(2):
        started = time.perf_counter()
        embed_images(encoder, images, prepared)
        taken.append(time.perf_counter() - started)
    return min(taken) / len(images)


if __name__ == "__main__":
    main()
