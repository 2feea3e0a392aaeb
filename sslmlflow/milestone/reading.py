"""The files of a milestone, checked before anything is built from them, then read."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from sslmlflow.encoders import PREFIX, RESNETS, Encoder, EncoderSpec, build_encoder, timm_architecture
from sslmlflow.encoders.pretrained import published_weights
from sslmlflow.errors import ConfigError
from sslmlflow.methods import Method, build_method
from sslmlflow.methods.renamed import todays
from sslmlflow.milestone.description import MilestoneFileError, read_description
from sslmlflow.milestone.file_names import ABOUT_FILE, ENCODER_FILE, METHOD_FILE
from sslmlflow.texts import printable

TYPES = {"F32": torch.float32, "I64": torch.int64}
Module = TypeVar("Module", bound=nn.Module)
Found = TypeVar("Found")
Header = Mapping[str, tuple[tuple[int, ...], str]]  # shape and type of every tensor in a file


class Parts(NamedTuple):
    """What a milestone's folder holds; the encoder is on the CPU, in eval mode."""

    about: dict[str, Any]
    encoder: Encoder
    heads: dict[str, Tensor]


def read_parts(folder: Path) -> Parts:
    """Read the milestone in `folder`; MilestoneFileError in one sentence where a file is not what it should be."""
    about = read_description(folder)
    spec = EncoderSpec(**about["encoder"])
    try:
        if about.get("trained", True):
            encoder, heads = _trained(folder, about, spec)
        else:
            encoder, heads = _untrained(folder, spec), {}
    except ConfigError as error:  # an encoder that does not take images of this size
        raise MilestoneFileError(f"{ABOUT_FILE}: {printable(error)}") from error
    return Parts(about, encoder.eval(), heads)


def _trained(folder: Path, about: Mapping[str, Any], spec: EncoderSpec) -> tuple[Encoder, dict[str, Tensor]]:
    """The encoder with its trained weights, and the state of the method beside it, of which all may be missing."""
    weights, of_method = _header(folder / ENCODER_FILE), folder / METHOD_FILE
    if spec.name in RESNETS:
        encoder = _on_meta(lambda: build_encoder(spec, seed=0))
    else:  # it is run when it is taken apart: it is built, but only where the file has about its size
        _check_count(weights, spec)
        encoder = build_encoder(spec, seed=0)
    _check_tensors(ENCODER_FILE, weights, encoder.state_dict())
    heads = {}
    if of_method.exists():
        method = _on_meta(lambda: build_method(about["method"], about["method_options"], encoder, seed=0))
        method.is_tuned = bool(about.get("tuned"))
        place = measured_place(method)
        known = {name: tensor for name, tensor in method.state_dict().items() if not name.startswith(place)}
        _check_tensors(METHOD_FILE, _named_today(_header(of_method)), known, whole=False)
        heads = _named_today(_finite(of_method))
    if spec.name in RESNETS:
        encoder.to_empty(device="cpu")
    encoder.load_state_dict(_finite(folder / ENCODER_FILE))
    return encoder, heads


def measured_place(method: Method) -> str:
    """What the names of the tensors of the encoder that milestones keep begin with among a method's."""
    return next(f"{name}." for name, module in method.named_modules() if module is method.measured)


def _named_today(by_name: Mapping[str, Found]) -> dict[str, Found]:
    return {todays(name): found for name, found in by_name.items()}


def _untrained(folder: Path, spec: EncoderSpec) -> Encoder:
    for name in (ENCODER_FILE, METHOD_FILE):
        if (folder / name).exists():
            raise MilestoneFileError(f"it holds {name}, although trained is false in {ABOUT_FILE}")
    return build_encoder(spec, seed=0)


def _on_meta(build: Callable[[], Module]) -> Module:
    """Layers with names and shapes that take no memory."""
    with torch.device("meta"):
        try:
            return build()
        except (RuntimeError, TypeError) as error:  # sizes that are too large to count
            reason = printable(str(error).splitlines()[0])
            raise MilestoneFileError(f"{ABOUT_FILE} describes what cannot be built: {reason}") from error


def _header(path: Path) -> Header:
    """The header of a file of safetensors; no tensor is read."""
    if not path.is_file():
        raise MilestoneFileError(f"{path.name} is missing")
    try:
        with safe_open(path, "pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            return {name: (tuple(part.get_shape()), part.get_dtype()) for name, part in slices.items()}
    except SafetensorError as error:
        raise MilestoneFileError(f"{path.name} is not a file of safetensors: {printable(error)}") from error


def _check_count(found: Header, spec: EncoderSpec) -> None:
    count = sum(math.prod(shape) for shape, _ in found.values())
    if spec.name.startswith(PREFIX):
        model = _on_meta(lambda: timm_architecture(spec))
        all_numbers = sum(parameter.numel() for parameter in model.parameters())
    else:
        all_numbers = published_weights(spec.name).meta["num_params"]
    if not 0.2 * all_numbers < count < 1.2 * all_numbers:  # without the classifier, with the statistics of BatchNorm
        raise MilestoneFileError(f"{ENCODER_FILE} holds {count} numbers, which cannot be the weights of a {spec.name}")


def _check_tensors(file: str, found: Header, expected: Mapping[str, Tensor], whole: bool = True) -> None:
    """Refuse a file that does not hold these tensors, or, unless `whole`, one that holds others."""
    if unknown := sorted(found.keys() - expected.keys()):
        raise MilestoneFileError(
            f"{file} holds a tensor {printable(unknown[0])}, which is not in {ABOUT_FILE}'s layers"
        )
    for name in (name for name in expected if name in found):
        (shape, kind), wanted = found[name], expected[name]
        if shape != wanted.shape or TYPES.get(kind) != wanted.dtype:
            needed = f"{str(wanted.dtype).removeprefix('torch.')} {tuple(wanted.shape)}"
            raise MilestoneFileError(f"{file}: {name} is {kind} {shape} (must be {needed} for {ABOUT_FILE}'s layers)")
    missing = [name for name in expected if name not in found]
    if missing and whole:
        raise MilestoneFileError(f"{file} lacks {len(missing)} tensors, {missing[0]} for one")


def _finite(path: Path) -> dict[str, Tensor]:
    tensors = load_file(path)
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise MilestoneFileError(f"{path.name}: {name} holds NaN or infinite numbers")
    return tensors
