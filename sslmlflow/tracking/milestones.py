"""Milestones: encoder, method state and description in one folder, kept in MLflow as a LoggedModel."""

import errno
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlparse

import numpy as np
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus, Metric
from mlflow.exceptions import MlflowException
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save
from torch import Tensor

from sslmlflow.data.preprocess import Preprocessing
from sslmlflow.data.source import ArrayImages
from sslmlflow.embedding import embed_images
from sslmlflow.encoders import Encoder, EncoderSpec, build_encoder, with_early
from sslmlflow.errors import UserError, in_short
from sslmlflow.files import private_folder, require_space, sync_folder, write_atomically
from sslmlflow.methods import Method, build_method
from sslmlflow.milestone.description import FORMAT, MilestoneFileError
from sslmlflow.milestone.files import ENCODER_FILE, METHOD_FILE, read_parts
from sslmlflow.tracking.notes import note
from sslmlflow.tracking.stored import ABOUT_FILE, KIND, epoch_of, model_of

KEY = "sslmlflow.key"


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
    encoder = {name.removeprefix("encoder."): t for name, t in state.items() if name.startswith("encoder.")}
    heads = {name: tensor for name, tensor in state.items() if not name.startswith("encoder.")}
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
    described = {"format": FORMAT, "encoder": asdict(spec), **about}
    write_atomically(part / ABOUT_FILE, (json.dumps(described, indent=2) + "\n").encode(), shared=True)
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
    for changed in (folder, folder.parent):
        sync_folder(changed)


def send_milestone(client: MlflowClient, run_id: str, epoch: int, folder: Path) -> str:
    """Log the milestone in `folder` as a LoggedModel of the run and return its id.

    Repeating it after a lost reply or a kill goes on with the model that is already there; FileNotFoundError if that
    is not whole and the files are gone.
    """
    model = _made_once(client, run_id, epoch, folder / ABOUT_FILE)
    if model.status != LoggedModelStatus.READY:
        if not (folder / ABOUT_FILE).exists():  # over HTTP MLflow uploads a folder that is not there as an empty one
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder / ABOUT_FILE))
        client.log_model_artifacts(model.model_id, str(folder))
        client.finalize_logged_model(model.model_id, "READY")
    outputs = client.get_run(run_id).outputs
    known = {output.model_id for output in outputs.model_outputs} if outputs else set()
    if model.model_id not in known:
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=epoch)])
    return model.model_id


def _made_once(client: MlflowClient, run_id: str, epoch: int, about: Path) -> LoggedModel:
    """The model of a milestone; where a reply is lost on its way, it may be there already, or even twice."""
    experiment_id = client.get_run(run_id).info.experiment_id
    key = f"{run_id}:{epoch}"

    def found() -> list[LoggedModel]:
        models = client.search_logged_models([experiment_id], f"tags.`{KEY}` = '{key}'")
        return [model for model in models if model.source_run_id == run_id]  # others may write the same tag

    if not found():
        tags = json.loads(about.read_text()).get("tags", {})
        client.create_logged_model(
            experiment_id,
            name=f"epoch-{epoch:04d}",
            source_run_id=run_id,
            model_type="ssl-encoder",
            params={"epoch": str(epoch)},
            tags={"kind": KIND, KEY: key, **tags},
        )
    model, *twins = sorted(found(), key=lambda m: (m.status != LoggedModelStatus.READY, m.creation_timestamp))
    for twin in twins:
        try:
            client.delete_logged_model(twin.model_id)
        except MlflowException as error:
            note(f"milestone {twin.model_id} was made twice and cannot be deleted: {error.message}")
    return model


def log_missing_metrics(
    client: MlflowClient,
    run_id: str,
    model: LoggedModel,
    values: Mapping[str, float],
    dataset: tuple[str | None, str | None] = (None, None),
) -> None:
    """Log what the run has not yet said of a milestone, in this order; `dataset` is name and digest of the images.

    A job that was killed and goes on says nothing twice; seconds, for one, would differ.
    """
    name, digest = dataset
    now = client.get_logged_model(model.model_id)
    known = {metric.key for metric in now.metrics or [] if (metric.run_id, metric.dataset_digest) == (run_id, digest)}
    metrics = [
        Metric(key, value, model.creation_timestamp, epoch_of(model), model.model_id, name, digest)
        for key, value in values.items()
        if key not in known
    ]
    client.log_batch(run_id, metrics=metrics)


def load_milestone(model_id: str) -> Milestone:
    """The milestone that MLflow holds under `model_id` (from the current tracking server).

    The encoder is in eval mode on the CPU. UserError if there is no such milestone, or not yet.
    """
    model = model_of(MlflowClient(), model_id)
    if model.tags.get("kind") != KIND:
        raise UserError(f"{model_id} is a model, but not a milestone of sslmlflow (its tag kind is not {KIND}).")
    if model.status != LoggedModelStatus.READY:
        raise UserError(f"milestone {model_id} is not whole (yet): its status is {model.status}. Try again later.")
    with TemporaryDirectory() as copies:  # of a remote artifact; local ones are read where they lie
        local = urlparse(model.artifact_location).scheme in ("", "file")
        folder = Path(download_artifacts(model.artifact_location, dst_path=None if local else copies))
        try:
            about, encoder, heads = read_parts(folder)
        except MilestoneFileError as error:
            raise UserError(f"the files of milestone {model_id} cannot be read as those of one: {error}.") from error
        except OSError as error:
            raise UserError(f"the files of milestone {model_id} cannot be read: {in_short(error)}") from error
    return Milestone(encoder, Preprocessing.from_json(about["preprocessing"]), about["epoch"], about, heads)


def load_method(milestone: Milestone, early: str | None = None) -> tuple[Method, EncoderSpec]:
    """The whole method as it was at the milestone, heads and queues included, on the CPU; and how its encoder is built.

    `early` ends the encoder's early part elsewhere. UserError if the milestone lacks any of the method's state.
    """
    about = milestone.about
    if about["method"] is None:
        raise UserError("the milestone is of a model that was not trained here: it embeds images, but has no method.")
    spec = EncoderSpec(**about["encoder"])
    spec = with_early(spec, early) if early else spec
    method = build_method(about["method"], about["method_options"], build_encoder(spec, seed=0), seed=0)
    kept = {f"encoder.{name}": tensor for name, tensor in milestone.encoder.state_dict().items()} | milestone.heads
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


def _without_part(name: str) -> str:
    """The name of a tensor wherever a ResNet is split; its layers have names of their own."""
    return re.sub(r"(?<=encoder\.)(early|late)\.", "", name)
