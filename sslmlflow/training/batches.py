"""Which images make up a batch, as a pure function of seed and step, so that training can start anywhere."""

from collections.abc import Generator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from sslmlflow.data.source import Images
from sslmlflow.distributed import share
from sslmlflow.training.readers import read_ahead


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Whole batches in an epoch; the rest, another one each epoch, is left out."""
    return images // batch_size


def batch_indices(images: int, batch_size: int, seed: int, step: int) -> NDArray[np.int64]:
    """Which images make up the batch of `step`: each epoch is its own random order."""
    per_epoch = steps_per_epoch(images, batch_size)
    epoch, place = divmod(step, per_epoch)
    return _order(images, seed, epoch)[place * batch_size : (place + 1) * batch_size].copy()


@lru_cache(maxsize=2)
def _order(images: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, epoch]).permutation(images)


def step_seed(seed: int, step: int) -> int:
    """The seed of everything random that happens within one step."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def batches(
    images: Images, batch_size: int, seed: int, steps: range, workers: int
) -> Generator[tuple[NDArray[np.uint8], NDArray[np.int64]], None, None]:
    """Batches of images (n, c, h, w) for some steps, and their numbers (n,); n is this process's share of `batch_size`.

    With `workers` other processes read ahead, see `read_ahead`: close the generator to end them.
    """
    part = share(batch_size)

    def indices(step: int) -> NDArray[np.int64]:
        return batch_indices(len(images), batch_size, seed, step)[part]

    def read(step: int) -> NDArray[np.uint8]:
        return images.read(indices(step))

    shape = part.stop - part.start, *images.shape
    ready = read_ahead(read, steps, shape, workers) if workers else map(read, steps)
    for step, pixels in zip(steps, ready, strict=False):
        yield pixels, indices(step)
