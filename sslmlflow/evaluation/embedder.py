"""The images of a data set, embedded by all processes of an evaluation: process 0 asks, the others do their share."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load, save
from torch import Tensor

from sslmlflow.data.preprocess import Preprocessing
from sslmlflow.data.source import Images, ImageSets, subset
from sslmlflow.distributed import of_first, size
from sslmlflow.embedding import embed_images
from sslmlflow.encoders import Encoder, EncoderSpec, build_encoder
from sslmlflow.errors import UserError
from sslmlflow.metrics.failures import FAILURES, why
from sslmlflow.milestone.milestone import Milestone


@dataclass(frozen=True)
class Wanted:
    """Which images are to be embedded, and by which seed and epoch AutoAugment changes them first, if it does."""

    part: str  # train or test
    rows: list[int] | None = None  # of the part, in their order; None: all
    augmented: tuple[int, int] | None = None


class Embedder:
    """Embeds images of a data set with one encoder after another.

    Process 0 calls `use`, then `embed` as often as it likes, and in the end `end`; all others call `follow`.
    """

    def __init__(self, sets: ImageSets, device: torch.device) -> None:
        self._sets = sets
        self._device = device

    def use(self, milestone: Milestone) -> None:
        """Embed with the encoder of a milestone from now on."""
        if size() > 1:
            _send({"encoder": milestone.about["encoder"], "preprocessing": milestone.preprocessing.as_json()})
            of_first(save({name: x.cpu().contiguous() for name, x in milestone.encoder.state_dict().items()}))
        self._set(milestone.encoder, milestone.preprocessing)

    def embed(self, wanted: Wanted) -> tuple[Tensor, Tensor]:
        """Embeddings (n, d) of the early and of the last layer, in the order of the images, on the CPU."""
        if size() > 1:
            _send({"wanted": asdict(self._in_short(wanted))})
        try:
            return self._embed(wanted)
        except FAILURES as error:
            if size() == 1:
                raise
            # A metric that is undefined for this would go on, and the others wait for what never comes.
            raise UserError(f"process 0 cannot embed its share of the images: {why(error)}.") from error

    def end(self) -> None:
        """Let the other processes go."""
        _send({})

    def follow(self) -> None:
        """Do what process 0 asks for, until it is done."""
        while order := json.loads(of_first(b"")):
            if "wanted" in order:
                self._embed(Wanted(**order["wanted"]))
                continue
            encoder = build_encoder(EncoderSpec(**order["encoder"]), seed=0)
            encoder.load_state_dict(load(of_first(b"")))
            self._set(encoder, Preprocessing.from_json(order["preprocessing"]))

    def _in_short(self, wanted: Wanted) -> Wanted:
        is_whole = wanted.rows is not None and len(wanted.rows) == len(self._images(wanted.part))
        return replace(wanted, rows=None) if is_whole else wanted

    def _images(self, part: str) -> Images:
        return {"train": self._sets.train, "test": self._sets.test}[part]

    def _set(self, encoder: Encoder, preprocessing: Preprocessing) -> None:
        self._encoder = encoder.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._preprocessing = preprocessing

    def _embed(self, wanted: Wanted) -> tuple[Tensor, Tensor]:
        images = self._images(wanted.part)
        places = np.arange(len(images)) if wanted.rows is None else np.array(wanted.rows, np.int64)
        if wanted.rows is not None:
            images = subset(images, places)
        augment = _autoaugment(*wanted.augmented, places) if wanted.augmented else None
        return embed_images(self._encoder, images, self._preprocessing, augment, together=True)


def _send(order: object) -> None:
    of_first(json.dumps(order).encode())


def _autoaugment(seed: int, epoch: int, places: NDArray[np.int64]) -> Callable[[Tensor, NDArray[np.int64]], Tensor]:
    from sslmlflow.data import autoaugment  # not above: it brings torchvision, and that torch's compiler

    def augment(block: Tensor, rows: NDArray[np.int64]) -> Tensor:
        return autoaugment.apply(block, autoaugment.draw(seed, epoch, places[rows]))

    return augment
