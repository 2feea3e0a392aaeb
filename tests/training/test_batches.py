"""The stream of batches: every image at most once an epoch, and the same from wherever it starts."""

import numpy as np
import pytest
import torch

from sslmlflow.data.source import ArrayImages
from sslmlflow.training.batches import batch_indices, batches, step_seed, steps_per_epoch


def numbered_images(count: int) -> ArrayImages:
    """Images whose first pixel is their number."""
    pixels = np.zeros((count, 1, 2, 2), np.uint8)
    pixels[:, 0, 0, 0] = np.arange(count)
    return ArrayImages(pixels)


def stream(first: int, last: int, workers: int = 0, seed: int = 3) -> list[list[int]]:
    taken = list(batches(numbered_images(23), 5, seed, range(first, last), workers))
    for pixels, indices in taken:
        assert pixels.shape == (5, 1, 2, 2)
        assert pixels.dtype == np.uint8
        assert pixels[:, 0, 0, 0].tolist() == indices.tolist()
    return [indices.tolist() for _, indices in taken]


@pytest.mark.parametrize(("images", "batch", "steps"), [(23, 5, 4), (20, 5, 4), (5, 5, 1), (4, 5, 0), (0, 5, 0)])
def test_an_epoch_holds_whole_batches_only(images: int, batch: int, steps: int) -> None:
    assert steps_per_epoch(images, batch) == steps


@pytest.mark.parametrize(("images", "batch"), [(23, 5), (20, 5), (5, 5), (7, 4)])
def test_no_image_comes_twice_in_an_epoch(images: int, batch: int) -> None:
    steps = images // batch
    for epoch in range(3):
        parts = [batch_indices(images, batch, 0, epoch * steps + step) for step in range(steps)]
        seen = np.concatenate(parts).tolist()
        assert len(seen) == len(set(seen)) == steps * batch
        assert set(seen) <= set(range(images))


def test_over_the_epochs_every_image_comes_about_equally_often() -> None:
    counts = np.zeros(23, int)
    for step in range(4 * 500):
        counts[batch_indices(23, 5, 0, step)] += 1
    # 20 of 23 images an epoch: 500 * 20 / 23 = 435, with a binomial deviation of 7.5.
    assert counts.min() > 435 - 5 * 7.5
    assert counts.max() < 435 + 5 * 7.5


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = {tuple(batch_indices(100, 100, seed, step).tolist()) for seed in range(4) for step in range(4)}
    assert len(orders) == 16


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_from_any_step_is_the_tail_of_the_whole(workers: int) -> None:
    whole = stream(0, 10)
    assert [sorted(batch) for batch in whole] == [sorted(batch_indices(23, 5, 3, step)) for step in range(10)]
    for first in (0, 7) if workers else range(11):
        assert stream(first, 10, workers) == whole[first:]


def test_the_global_random_state_has_no_say() -> None:
    torch.manual_seed(1)
    np.random.seed(1)
    first = stream(0, 6)
    torch.manual_seed(2)
    np.random.seed(2)
    assert stream(0, 6) == first


def test_every_step_has_a_seed_of_its_own_that_torch_takes() -> None:
    seeds = {step_seed(seed, step) for seed in (0, 1, 2**31) for step in range(1000)}
    assert len(seeds) == 3000
    assert all(0 <= seed < 2**63 for seed in seeds)
    torch.Generator().manual_seed(max(seeds))
