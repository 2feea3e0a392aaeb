"""Encoders by name."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from sslmlflow.config.options import nearest
from sslmlflow.encoders.encoder import Encoder, EncoderSpec, Upscale, pool
from sslmlflow.encoders.pretrained import (
    Published,
    load_weights,
    named_weights,
    read_weights,
    torchvision_published,
)
from sslmlflow.encoders.resnet import EARLY_LAYERS, RESNETS, resnet
from sslmlflow.encoders.timm_models import PREFIX, check_timm, timm_encoder, timm_published, timm_tensors
from sslmlflow.encoders.timm_trained import (
    check_sizes,
    is_transformer,
    read_timm_options,
    timm_architecture,
    timm_parts,
)
from sslmlflow.errors import ConfigError, in_short

IMAGENET = "imagenet"

__all__ = [
    "PREFIX",
    "RESNETS",
    "Encoder",
    "EncoderSpec",
    "build_encoder",
    "check_encoder",
    "check_pretrained",
    "check_views",
    "is_transformer",
    "pool",
    "published",
    "published_tensors",
    "read_timm_options",
    "timm_architecture",
    "torchvision_models",
    "with_early",
]


def build_encoder(spec: EncoderSpec, seed: int) -> Encoder:
    """An encoder with random weights drawn from `seed`; the global random state is left alone.

    Raises ConfigError for a name that neither torchvision nor timm has, for a model that does not take images
    of this size, or one that cannot be split; UserError if published weights cannot be had.
    """
    check_pretrained(spec.name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if spec.name.startswith(PREFIX):
            if not spec.options:  # not trained: measured as a whole, by `sweep`
                return timm_encoder(spec)
            return Encoder(*timm_parts(spec), spec.image_size, spec.block)
        own = spec.name in RESNETS and not spec.published
        early, late = _own_resnet(spec) if own else _torchvision_parts(spec)
        if spec.upscale:
            early = nn.Sequential(Upscale(spec.image_size), early)
        return Encoder(early, late, spec.image_size, spec.block)


def check_encoder(name: str) -> None:
    """ConfigError if there is no encoder of this name that can be trained here."""
    if name in RESNETS:
        return
    if name.startswith(PREFIX):
        check_timm(name)
        return
    known = [*RESNETS, *torchvision_models()]
    if name not in known:
        raise ConfigError(
            f"invalid value for encoder: {name} (must be resnet18, resnet50, the name of a classification model in "
            f"torchvision.models, or timm/ and the name of a model of timm).{_meant(name, known)}"
        )


def check_views(spec: EncoderSpec, sizes: Iterable[int]) -> None:
    """ConfigError where the encoder does not take views of these sizes, in pixels."""
    if spec.options:
        early = build_encoder(spec, seed=0).early
        check_sizes(spec, getattr(early, "model", early), *sizes)
    elif others := {size for size in sizes if size != spec.image_size and spec.name not in RESNETS}:
        encoder = build_encoder(spec, seed=0).eval()
        for size in others:
            _try(encoder, spec, size)


def _try(encoder: Encoder, spec: EncoderSpec, size: int) -> None:
    """ConfigError unless a model of torchvision takes views of a size that it was not built for."""
    try:
        with torch.no_grad():
            encoder(torch.zeros(1, 3, size, size))
    except (RuntimeError, ValueError, AssertionError) as error:
        raise ConfigError(
            f"invalid value for local_crops: small views are of {size} px (must be {spec.image_size} px for "
            f"{spec.name}: {in_short(error)}). Set --local_crops=0, or use an encoder of timm."
        ) from error


def check_pretrained(name: str) -> None:
    """ConfigError if there is neither a model of torchvision of this name nor, as timm/NAME, one of timm."""
    if name.startswith(PREFIX):
        check_timm(name)
    elif name not in RESNETS and name not in (known := torchvision_models()):
        raise ConfigError(
            f"{name} is not a model of torchvision.{_meant(name, known)} Allowed: a classification model in "
            "torchvision.models, or timm/ and the name of one of timm."
        )


def _meant(name: str, known: Iterable[str]) -> str:
    suggestion = nearest(name, known)
    return f" Did you mean {suggestion}?" if suggestion else ""


def published(name: str) -> Published:
    """What is published for a model of torchvision or timm."""
    return timm_published(name) if name.startswith(PREFIX) else torchvision_published(name)


def published_tensors(spec: EncoderSpec, weights: str) -> dict[str, Tensor]:
    """Published weights for an encoder by their name, under the names of the model that they were published for.

    `weights` is imagenet (what torchvision or timm recommends), the name of other weights of torchvision, or timm/NAME.
    Those of an encoder that is a model of torchvision's or timm's come under the encoder's names, without the
    classifier. ConfigError for an unknown name, UserError if they cannot be had.
    """
    if spec.options:
        architecture = spec.name.partition(".")[0]
        weights = spec.name if weights == IMAGENET else weights
        if weights.partition(".")[0] != architecture:
            raise ConfigError(f"invalid value for init: {weights} (must be random, {IMAGENET}, or {architecture}.TAG).")
        check_timm(weights)
        if others := set(read_timm_options(spec.options)) - {"patch_size", "drop_path_rate"}:
            raise ConfigError(
                f"invalid value for encoder_options with init={weights}: {spec.options} (must be without "
                f"{' and '.join(sorted(others))}, which published weights decide)"
            )
        return Encoder(*timm_parts(spec, weights), spec.image_size).state_dict()
    if weights.startswith(PREFIX):
        check_timm(weights)
        return timm_tensors(weights)
    if spec.name not in RESNETS:
        if weights != IMAGENET:
            raise ConfigError(f"invalid value for init: {weights} (must be random or {IMAGENET} for {spec.name}).")
        return build_encoder(replace(spec, published=True), seed=0).state_dict()
    return read_weights(spec.name, named_weights(spec.name, weights))


def with_early(spec: EncoderSpec, early: str) -> EncoderSpec:
    """The same encoder, its early part ending with the layer `early`; ConfigError if it has no such layer."""
    if spec.name not in RESNETS or early not in EARLY_LAYERS:
        raise ConfigError(
            f"early_layer={early} is not possible for encoder {spec.name}. "
            f"Allowed: auto, for {' and '.join(RESNETS)} also {' and '.join(EARLY_LAYERS)}."
        )
    return replace(spec, early=early)


def _own_resnet(spec: EncoderSpec) -> tuple[nn.Module, nn.Module]:
    layers = resnet(spec.name, spec.width, spec.stem)
    cut = [name for name, _ in layers.named_children()].index(spec.early) + 1
    return layers[:cut], layers[cut:]


def torchvision_models() -> list[str]:
    """The classification models of torchvision, by name."""
    from torchvision import models  # not above: torchvision brings torch's compiler, which takes seconds

    return list(models.list_models(module=models))


def _torchvision_parts(spec: EncoderSpec) -> tuple[nn.Module, nn.Module]:
    from torchvision import models

    from sslmlflow.encoders.splitting import split

    keywords: dict[str, Any] = {}
    if spec.name in ("googlenet", "inception_v3"):
        keywords = {"aux_logits": False, "init_weights": True}
    if spec.name.startswith("vit_"):
        keywords = {"image_size": spec.image_size}
    if spec.name.startswith("maxvit"):
        keywords = {"input_size": (spec.image_size, spec.image_size)}
    try:
        model = models.get_model(spec.name, weights=None, **keywords)
        if spec.published:
            load_weights(model, spec.name)
        return split(model, torch.randn(2, 3, spec.image_size, spec.image_size))
    except (RuntimeError, ValueError, AssertionError) as error:
        raise ConfigError(
            f"encoder={spec.name} cannot be used with {spec.image_size} px images ({in_short(error)}). "
            "Give another image_size or encoder."
        ) from error
