"""The batches of views that a training sees."""

from collections.abc import Generator
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sslmlflow.data.augmentation import Views
from sslmlflow.data.preprocess import Preprocessing
from sslmlflow.data.source import Images, ImageSets
from sslmlflow.data.views import make_crops
from sslmlflow.distributed import share
from sslmlflow.methods import Batch
from sslmlflow.training.batches import batches, step_seed
from sslmlflow.training.device import Machine
from sslmlflow.training.loop import Plan

Read = Generator[tuple[NDArray[np.uint8], NDArray[np.int64]], None, None]


@dataclass
class ViewBatches:
    """This process's share of the batch of a step, a pure function of seed and step; steps in order can be read ahead.

    Close it to end the processes that read ahead.
    """

    images: Images
    views: Views
    preprocessing: Preprocessing
    batch_size: int
    seed: int
    total_steps: int
    device: torch.device
    workers: int = 0
    _stream: Read | None = field(default=None, init=False)
    _next: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._channels = self.preprocessing.tensors(self.device)  # once: each would be waited for

    def __call__(self, step: int, difficulty: Tensor | None = None) -> Batch | None:
        """The batch of a step, counted from 0; None where a stop is requested while it is waited for."""
        if self._stream is None or step != self._next:
            self.close()
            self._stream = batches(self.images, self.batch_size, self.seed, range(step, self.total_steps), self.workers)
        found = next(self._stream, None)
        self._next = step + 1
        if found is None:
            return None
        pixels, indices = found
        generator = torch.Generator().manual_seed(step_seed(self.seed, step))
        images = torch.from_numpy(pixels).to(self.device, non_blocking=True)
        whole = self.batch_size
        crops, boxes = make_crops(images, self.views, *self._channels, generator, share(whole), whole)
        return Batch(crops, torch.from_numpy(indices), boxes)

    def close(self) -> None:
        """End the processes that read ahead."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None


def view_batches(
    sets: ImageSets, views: Views, preprocessing: Preprocessing, plan: Plan, machine: Machine
) -> ViewBatches:
    """The batches of a training by its plan."""
    return ViewBatches(
        sets.train, views, preprocessing, plan.batch_size, plan.seed, plan.total_steps, machine.device, plan.workers
    )
