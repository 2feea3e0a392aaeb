"""A milestone: an encoder at an epoch and the method around it, in a folder that no server is needed for."""

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save
from torch import Tensor

from sslmlflow.data.preprocess import Preprocessing
from sslmlflow.data.source import ArrayImages
from sslmlflow.embedding import embed_images
from sslmlflow.encoders import Encoder, EncoderSpec, build_encoder, with_early
from sslmlflow.errors import UserError
from sslmlflow.files import private_folder, require_space, sync_folder, write_atomically
from sslmlflow.methods import Method, build_method
from sslmlflow.milestone.description import FORMAT
from sslmlflow.milestone.file_names import ABOUT_FILE, ENCODER_FILE, METHOD_FILE
from sslmlflow.milestone.reading import measured_place, read_parts


@dataclass(repr=False)
class Milestone:
    """An encoder as it was after `epoch` epochs, ready to embed images; `heads` is the state of the method's rest."""

    encoder: Encoder
    preprocessing: Preprocessing
    epoch: int
    about: dict[str, Any]
    heads: dict[str, Tensor]

    def __repr__(self) -> str:
        encoder = self.about.get("encoder", {})
        fields = {
            "epoch": self.epoch,
            "method": self.about.get("method"),
            "encoder": encoder.get("name"),
            "width": encoder.get("width"),
            "image_size": self.preprocessing.image_size,
        }
        return f"Milestone({', '.join(f'{name}={value!r}' for name, value in fields.items())})"

    def embed(self, images: NDArray[Any] | Sequence[Image.Image]) -> Tensor:
        """Embeddings (n, d) of the last layer.

        `images`: pictures of any size, or uint8 pixels (n, channels, size, size) of the size and channels
        of the training images. BatchNorm uses its running statistics; the result is float32 on the CPU.
        """
        return self.embed_layers(images)[1]

    def embed_layers(self, images: NDArray[Any] | Sequence[Image.Image]) -> tuple[Tensor, Tensor]:
        """Embeddings of the early and of the last layer; see `embed`."""
        if isinstance(images, Sequence):
            if not images or not all(isinstance(image, Image.Image) for image in images):
                raise UserError("images must be a list of one or more PIL pictures, or an array of uint8 pixels.")
            images = self.preprocessing.pixels(images)
        elif not isinstance(images, np.ndarray):
            raise UserError(f"a {type(images).__name__} was given; pictures come in a list, pixels in a NumPy array.")
        pixels = images
        expected = (self.preprocessing.channels, *[self.preprocessing.image_size] * 2)
        if pixels.dtype != "uint8" or pixels.shape[1:] != expected:
            raise UserError(
                f"images of {pixels.dtype} {pixels.shape} were given; this milestone takes uint8 "
                f"(n, {', '.join(map(str, expected))}), or a list of pictures of any size."
            )
        return embed_images(self.encoder, ArrayImages(pixels), self.preprocessing)


def write_milestone(folder: Path, method: Method, spec: EncoderSpec, about: dict[str, Any]) -> None:
    """Write a milestone's three files; `folder` appears only when they are whole."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in method.state_dict().items()}
    place = measured_place(method)
    encoder = {name.removeprefix(place): tensor for name, tensor in state.items() if name.startswith(place)}
    heads = {name: tensor for name, tensor in state.items() if not name.startswith(place)}
    _write(folder, {ENCODER_FILE: encoder, METHOD_FILE: heads}, spec, about)


def write_untrained(folder: Path, spec: EncoderSpec, about: dict[str, Any]) -> None:
    """Write a milestone of an encoder that was not trained here, and is as `build_encoder(spec, seed=0)` makes it."""
    _write(folder, {}, spec, {**about, "trained": False})


def _write(folder: Path, files: dict[str, dict[str, Tensor]], spec: EncoderSpec, about: dict[str, Any]) -> None:
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    private_folder(folder.parent)
    part.mkdir()
    require_space(part, sum(tensor.nbytes for tensors in files.values() for tensor in tensors.values()), "a milestone")
    for name, tensors in files.items():
        write_atomically(part / name, save(tensors), shared=True)  # MLflow gives the copy in its store the same mode
    described = {"format": FORMAT, "encoder": _described(spec), **about}
    write_atomically(part / ABOUT_FILE, (json.dumps(described, indent=2) + "\n").encode(), shared=True)
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
    for changed in (folder, folder.parent):
        sync_folder(changed)


def read_milestone(folder: Path) -> Milestone:
    """The milestone in `folder`, its encoder in eval mode on the CPU.

    MilestoneFileError where a file is not what it should be, OSError where it cannot be read.
    """
    about, encoder, heads = read_parts(folder)
    return Milestone(encoder, Preprocessing.from_json(about["preprocessing"]), about["epoch"], about, heads)


def load_method(milestone: Milestone, early: str | None = None) -> tuple[Method, EncoderSpec]:
    """The whole method as it was at the milestone, heads and queues included, on the CPU; and how its encoder is built.

    `early` ends the encoder's early part elsewhere. UserError if the milestone lacks any of the method's state.
    """
    about = milestone.about
    method, spec = untrained_method(about, early)
    place = measured_place(method)
    kept = {place + name: tensor for name, tensor in milestone.encoder.state_dict().items()} | milestone.heads
    if early:
        by_layer = {_without_part(name): tensor for name, tensor in kept.items()}
        kept = {name: by_layer[_without_part(name)] for name in method.state_dict() if _without_part(name) in by_layer}
    missing = [name for name in method.state_dict() if name not in kept]
    if missing:
        raise UserError(
            f"the milestone of epoch {milestone.epoch} does not hold the state of its method, {about['method']} "
            f"({len(missing)} tensors are missing, {missing[0]} for one): it can embed images, but not be trained on."
        )
    method.load_state_dict(kept)
    return method, spec


def untrained_method(about: dict[str, Any], early: str | None = None) -> tuple[Method, EncoderSpec]:
    """The method that a milestone describes, before its state is loaded; and how its encoder is built."""
    if about["method"] is None:
        raise UserError("the milestone is of a model that was not trained here: it embeds images, but has no method.")
    spec = EncoderSpec(**about["encoder"])
    spec = with_early(spec, early) if early else spec
    method = build_method(about["method"], about["method_options"], build_encoder(spec, seed=0), seed=0)
    method.is_tuned = bool(about.get("tuned"))
    return method, spec


def _without_part(name: str) -> str:
    """The name of a tensor wherever a ResNet is split; its layers have names of their own."""
    return re.sub(r"(?<=encoder\.)(early|late)\.", "", name)


def _described(spec: EncoderSpec) -> dict[str, Any]:
    """The fields of a spec; one that earlier releases do not know only where it says something."""
    return {name: value for name, value in asdict(spec).items() if name != "options" or value}
