"""The weights that a training begins with, where they are not drawn from its seed."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from sslmlflow.config.options import NONE
from sslmlflow.config.pretrain import Pretrain
from sslmlflow.encoders import RESNETS, Encoder, EncoderSpec, build_encoder, published_tensors
from sslmlflow.encoders.resnet import layer_name
from sslmlflow.errors import ConfigError, UserError, in_short
from sslmlflow.methods import Method, build_method
from sslmlflow.milestone.description import MilestoneFileError
from sslmlflow.milestone.file_names import ABOUT_FILE
from sslmlflow.milestone.milestone import Milestone, load_method, read_milestone
from sslmlflow.tracking.logged_models import load_milestone

RANDOM = "random"
CLASSIFIER = ("fc.",)  # the head of a published ResNet, which an encoder does not have


@dataclass(frozen=True)
class FirstWeights:
    """Weights to begin with; `encoder` and `method` are state dicts, the latter empty where only an encoder is given.

    `model_id` is the milestone in MLflow that they are from, if they are from one.
    """

    source: str
    encoder: Mapping[str, Tensor]
    method: Mapping[str, Tensor] = field(default_factory=dict)
    model_id: str | None = None

    @property
    def digest(self) -> str:
        """A digest of all tensors."""
        hashed = hashlib.sha256()
        for name, tensor in sorted({**self.encoder, **self.method}.items()):
            hashed.update(name.encode())
            hashed.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        return hashed.hexdigest()[:16]

    @property
    def holds(self) -> str:
        """Which part of a method they are of, in words."""
        return "encoder and heads" if self.method else "encoder"

    def put_into_encoder(self, encoder: Encoder) -> None:
        """Load the encoder's weights; before a method is built around it, whose teacher is a copy of it."""
        encoder.load_state_dict(dict(self.encoder))

    def put_into_method(self, method: Method) -> None:
        """Load the state of the whole method, where it is given."""
        if self.method:
            method.load_state_dict(dict(self.method))


def first_weights(config: Pretrain, method_options: str, spec: EncoderSpec) -> FirstWeights | None:
    """The weights that `start` or `init` name; None for weights drawn from the seed.

    Raises:
        ConfigError: Both are given, or they are of another encoder.
        UserError: They cannot be read, or hold numbers that are not finite.
    """
    if config.start != NONE and config.init != RANDOM:
        raise ConfigError(
            f"invalid values for start and init: {config.start} and {config.init} (only one of them can be set: both "
            "name the first weights)."
        )
    if config.start != NONE:
        found = _started(config, method_options, spec)
    elif config.init != RANDOM:
        found = FirstWeights(config.init, _fitted(f"init={config.init}", published_tensors(spec, config.init), spec))
    else:
        return None
    print(f"weights: {found.holds} of {found.source}")
    return found


def _started(config: Pretrain, method_options: str, spec: EncoderSpec) -> FirstWeights:
    start, path = config.start, Path(config.start).expanduser()
    if start.startswith("m-") and not path.exists():
        return _of_milestone(config, method_options, spec, load_milestone(start), start)
    if (path / ABOUT_FILE).is_file():
        try:
            return _of_milestone(config, method_options, spec, read_milestone(path), None)
        except (MilestoneFileError, OSError) as error:
            raise UserError(f"the milestone {path} cannot be read: {in_short(error)}.") from error
    if path.suffix != ".safetensors":
        raise ConfigError(
            f"invalid value for start: {start} (must be none, the model id (m-…) or the folder of a milestone, or a "
            ".safetensors file of an encoder)."
        )
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} cannot be read as safetensors: {in_short(error)}.") from error
    return FirstWeights(start, _fitted(f"start={start}", tensors, spec))


def _of_milestone(
    config: Pretrain, method_options: str, spec: EncoderSpec, milestone: Milestone, model_id: str | None
) -> FirstWeights:
    about = milestone.about
    encoder = _fitted(f"start={config.start}", milestone.encoder.state_dict(), spec)
    whole: Mapping[str, Tensor] = {}
    if about["method"] == config.method and milestone.heads and not about.get("tuned"):
        whole = load_method(milestone, spec.early if spec.name in RESNETS else None)[0].state_dict()
        ours = build_method(config.method, method_options, build_encoder(spec, seed=0), seed=0).state_dict()
        if {name: of.shape for name, of in ours.items()} != {name: of.shape for name, of in whole.items()}:
            whole = {}
    return FirstWeights(f"{config.start} (epoch {milestone.epoch})", encoder, whole, model_id)


def _fitted(source: str, tensors: Mapping[str, Tensor], spec: EncoderSpec) -> dict[str, Tensor]:
    """The tensors under the names of the encoder; ConfigError where they are another encoder's."""
    wanted = build_encoder(replace(spec, published=False), seed=0).state_dict()
    ours = {layer_name(name): name for name in wanted} if spec.name in RESNETS else {name: name for name in wanted}
    given = {layer_name(name) if spec.name in RESNETS else name: tensor for name, tensor in tensors.items()}
    known = {name: tensor for name, tensor in given.items() if not name.startswith(CLASSIFIER)}
    what = f"{spec.name} of width {spec.width} with stem={spec.stem}" if spec.name in RESNETS else spec.name
    missing = [name for name in ours if name not in known]
    if missing:
        raise ConfigError(
            f"{source} does not fit: it lacks {len(missing)} of the {len(ours)} tensors of {what}, {missing[0]} "
            "for one. Give weights of the same encoder."
        )
    if unknown := sorted(set(known) - set(ours)):
        raise ConfigError(
            f"{source} does not fit: {what} has no tensor {unknown[0]}. Give weights of the same encoder."
        )
    for name, place in ours.items():
        if not torch.isfinite(known[name]).all():
            raise UserError(f"{source}: {name} holds NaN or infinite numbers. Give other weights.")
        if known[name].shape != wanted[place].shape:
            raise ConfigError(
                f"{source} does not fit: its {name} is {tuple(known[name].shape)}, and that of {what} is "
                f"{tuple(wanted[place].shape)}. Give the same --encoder, --width and --stem."
            )
    return {place: known[name].to(wanted[place].dtype) for name, place in ours.items()}
