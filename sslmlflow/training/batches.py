"""The stream of batches as a pure function of seed and step, so that it can start anywhere."""

from collections.abc import Generator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sslmlflow.data.source import Images
from sslmlflow.training.readers import read_ahead


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Whole batches in an epoch; the rest, another one each epoch, is left out."""
    return images // batch_size


def batch_indices(images: int, batch_size: int, seed: int, step: int) -> NDArray[np.int64]:
    """Which images make up the batch of `step`: each epoch is its own random order."""
    per_epoch = steps_per_epoch(images, batch_size)
    epoch, place = divmod(step, per_epoch)
    order = np.random.default_rng([seed, epoch]).permutation(images)
    return order[place * batch_size : (place + 1) * batch_size]


def step_seed(seed: int, step: int) -> int:
    """The seed of everything random that happens within one step."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def batches(
    images: Images, batch_size: int, seed: int, first_step: int, last_step: int, workers: int
) -> Generator[Tensor, None, None]:
    """Batches of uint8 images (batch_size, c, h, w) for the steps first_step to last_step - 1.

    With `workers` other processes read ahead, see `read_ahead`: close the generator to end them.
    """
    steps = range(first_step, last_step)

    def read(step: int) -> NDArray[np.uint8]:
        return images.read(batch_indices(len(images), batch_size, seed, step))

    ready = read_ahead(read, steps, (batch_size, *images.shape), workers) if workers else map(read, steps)
    for pixels in ready:
        yield torch.from_numpy(pixels)
