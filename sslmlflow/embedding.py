"""Images to embeddings of the early and the last layer, always in float32 with BatchNorm in eval mode."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sslmlflow.data.augmentation import Augmentation
from sslmlflow.data.preprocess import Preprocessing
from sslmlflow.data.source import Images
from sslmlflow.data.views import fixed_crops
from sslmlflow.distributed import in_turns
from sslmlflow.encoders import Encoder


def embed_images(
    encoder: Encoder,
    images: Images,
    preprocessing: Preprocessing,
    augment: Callable[[Tensor, NDArray[np.int64]], Tensor] | None = None,
    together: bool = False,
) -> tuple[Tensor, Tensor]:
    """Embeddings (n, d) of the early and of the last layer, in the order of `images`, on the CPU.

    `augment` takes uint8 images (n, c, h, w), on the CPU, and their numbers (n,); it returns such images. `together`:
    all processes ask for the same, and each does its share.
    """

    def prepare(block: Tensor, places: NDArray[np.int64]) -> Tensor:
        return preprocessing.normalise((augment(block, places) if augment else block).to(_device(encoder)))

    parts = blocks(len(images), encoder.block)
    with evaluating(encoder):
        embed = partial(_embedded, encoder, images, prepare)
        early, last = zip(*(in_turns(parts, embed) if together else map(embed, parts)), strict=True)
    return torch.cat(early), torch.cat(last)


def embed_views(
    encoder: Encoder,
    images: Images,
    preprocessing: Preprocessing,
    augmentation: Augmentation,
    seed: int,
    views: int = 2,
    places: NDArray[np.int64] | None = None,
) -> tuple[Tensor, Tensor]:
    """Embeddings (views, n, d) of fixed random views of each image, on the CPU, by all processes together.

    The views are a function of (seed, image, view) alone, on every machine, whichever images are embedded with it.
    `places` are the images' numbers (n,) in the data set of which they are a subset, by default their order here.
    """
    numbers = np.arange(len(images)) if places is None else places

    def prepare(block: Tensor, indices: NDArray[np.int64]) -> Tensor:
        block = block.to(_device(encoder))
        mean, std = preprocessing.tensors(block.device)
        return fixed_crops(block, augmentation, mean, std, numbers[indices], seed, views)[0].flatten(0, 1)

    parts = blocks(len(images), max(2 * encoder.block // max(views, 2), 1))
    with evaluating(encoder):
        embedded = list(in_turns(parts, partial(_embedded, encoder, images, prepare)))
    early, last = zip(*(_views_first(part, views) for part in embedded), strict=True)
    return torch.cat(early, dim=1), torch.cat(last, dim=1)


def _views_first(parts: Sequence[Tensor], views: int) -> tuple[Tensor, Tensor]:
    early, last = parts
    return early.reshape(views, -1, early.shape[1]), last.reshape(views, -1, last.shape[1])


@torch.no_grad()
def _embedded(
    encoder: Encoder,
    images: Images,
    prepare: Callable[[Tensor, NDArray[np.int64]], Tensor],
    part: NDArray[np.int64],
) -> tuple[Tensor, Tensor]:
    early, last = encoder.embed(prepare(torch.from_numpy(images.read(part)), part))
    return early.float().cpu(), last.float().cpu()


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Have a module in eval mode meanwhile."""
    was_training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(was_training)


def blocks(count: int, size: int) -> list[NDArray[np.int64]]:
    """The numbers 0..count-1 in runs of at most `size`."""
    return np.array_split(np.arange(count), range(size, count, size))


def _device(encoder: Encoder) -> torch.device:
    return next(encoder.parameters()).device
