"""The stream of batches as a pure function of seed and step, so that it can start anywhere."""

import signal
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from sslmlflow.data.source import Images
from sslmlflow.signals import SIGNALS


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
) -> Iterator[Tensor]:
    """Batches of uint8 images (batch_size, c, h, w) for the steps first_step to last_step - 1."""
    loader = DataLoader(
        _Reader(images, batch_size, seed),
        batch_size=None,
        sampler=range(first_step, last_step),
        num_workers=workers,
        worker_init_fn=_leave_signals_to_the_training,
    )
    return iter(loader)


def _leave_signals_to_the_training(worker: int) -> None:
    """A reader that died of a signal to the whole group of processes would cut a step in two; it ends with us."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


class _Reader(Dataset[Tensor]):
    def __init__(self, images: Images, batch_size: int, seed: int) -> None:
        self.images = images
        self.batch_size = batch_size
        self.seed = seed

    def __getitem__(self, step: int) -> Tensor:
        return torch.from_numpy(self.images.read(batch_indices(len(self.images), self.batch_size, self.seed, step)))
