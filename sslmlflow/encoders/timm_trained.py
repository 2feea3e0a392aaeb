"""Architectures of timm that are trained here, in two parts."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sslmlflow.config.options import AUTO
from sslmlflow.encoders.encoder import EncoderSpec
from sslmlflow.encoders.timm_models import PREFIX, weights_of
from sslmlflow.errors import ConfigError, in_short

OPTIONS = {"patch_size": int, "embed_dim": int, "depth": int, "num_heads": int, "drop_path_rate": float}
LARGEST = {"patch_size": 1024, "embed_dim": 4096, "depth": 128, "num_heads": 128}
MOST_PATCHES = 4096  # of an image
OF_ANY_SIZE = ("vision_transformer", "deit")  # modules of timm that interpolate positions, which small views need


def read_timm_options(text: str) -> dict[str, int | float]:
    """Read settings of an architecture, `auto` or `name=value,name=value`; ConfigError names an invalid one.

    >>> read_timm_options("patch_size=4,depth=6")
    {'patch_size': 4, 'depth': 6}
    """
    found: dict[str, int | float] = {}
    for part in filter(None, text.split(",") if text != AUTO else []):
        name, _, value = (word.strip() for word in part.partition("="))
        if name not in OPTIONS:
            raise ConfigError(f"invalid name in encoder_options: {name} (must be one of {', '.join(OPTIONS)})")
        whole = name in LARGEST
        allowed = f"a whole number from 1 to {LARGEST[name]}" if whole else "a number from 0 to 0.9"
        try:
            found[name] = OPTIONS[name](value)
        except ValueError:
            found[name] = -1
        if not (1 <= found[name] <= LARGEST[name] if whole else 0 <= found[name] <= 0.9):
            raise ConfigError(f"invalid value for {name} in encoder_options: {value} (must be {allowed})")
    return found


def timm_parts(spec: EncoderSpec, weights: str = "") -> tuple[nn.Module, nn.Module]:
    """The early and the late part: a vision transformer is cut after three quarters of its blocks, others by `split`.

    With random weights, or with those that timm publishes under `weights`. ConfigError for an architecture that cannot
    be cut, or that does not take images of this size; UserError for weights that cannot be had.
    """
    from timm.models.vision_transformer import VisionTransformer

    from sslmlflow.encoders.splitting import split

    model = timm_architecture(spec, weights)
    check_sizes(spec, model, spec.image_size)
    images = torch.randn(2, 3, spec.image_size, spec.image_size)
    with _refused(spec):
        if not isinstance(model, VisionTransformer):
            return split(model, images, classifier=False)
        model.eval()
        with torch.no_grad():
            whole = model(images)
            early, late = _cut(model, len(model.blocks) * 3 // 4)
            if not torch.allclose(late(early(images)), whole, rtol=0, atol=1e-4 * whole.abs().max().item()):
                raise ValueError("its parts do not make up the whole")
    return early, late


def check_sizes(spec: EncoderSpec, model: Any, *sizes: int) -> None:
    """ConfigError unless images of these sizes, in pixels, are whole patches, and not too many."""
    patch = model.patch_embed.patch_size[0] if hasattr(model, "patch_embed") else 0
    for size in sizes if patch else ():
        which = "image_size" if size == spec.image_size else "local_crops: small views are of"
        if size % patch:
            raise ConfigError(
                f"invalid value for {which} {size} px (must be a multiple of the patches of {spec.name}, {patch} px). "
                "Set --encoder_options=patch_size=..., another --image_size, or --local_crops=0."
            )
        if (size // patch) ** 2 > MOST_PATCHES:
            raise ConfigError(
                f"invalid value for {which} {size} px (must be at most {MOST_PATCHES} patches of {patch} px)"
            )


def timm_architecture(spec: EncoderSpec, weights: str = "") -> Any:
    """The model without its classifier; ConfigError where it does not take the options.

    timm resamples published patches and positions to the sizes asked for.
    """
    import timm

    name = spec.name.removeprefix(PREFIX)
    options: dict[str, Any] = dict(read_timm_options(spec.options))
    about = timm.get_pretrained_cfg(name)
    if about and about.fixed_input_size:
        options |= {"img_size": spec.image_size}
    if is_transformer(spec.name):
        options |= {"img_size": spec.image_size, "dynamic_img_size": True}
    with _refused(spec):
        model = timm.create_model(name, num_classes=0, **options)
    if weights:
        with weights_of(weights):  # with the classifier: without it timm leaves at random what a file does not hold
            published = timm.create_model(weights.removeprefix(PREFIX), pretrained=True, **options).state_dict()
            model.load_state_dict({tensor: published[tensor] for tensor in model.state_dict()})
    return model


def is_transformer(name: str) -> bool:
    """Whether an encoder is a vision transformer of timm, of one size throughout."""
    if not name.startswith(PREFIX):
        return False
    from timm.models import is_model_in_modules

    return bool(is_model_in_modules(name.removeprefix(PREFIX), OF_ANY_SIZE))


@contextmanager
def _refused(spec: EncoderSpec) -> Iterator[None]:
    """Report in a sentence that an architecture does not do."""
    try:
        yield
    except (RuntimeError, TypeError, ValueError, AssertionError, KeyError, AttributeError, IndexError) as error:
        raise ConfigError(
            f"encoder={spec.name} cannot be trained on {spec.image_size} px images with "
            f"encoder_options={spec.options}: {in_short(error)}. Use another --encoder, --encoder_options or "
            "--image_size."
        ) from error


def _cut(model: Any, kept: int) -> tuple[nn.Module, nn.Module]:
    """A vision transformer, taken apart after so many blocks."""
    if model.global_pool not in ("token", "avg") or getattr(model, "attn_pool", None) is not None:
        raise ValueError(f"its embedding is the {model.global_pool} of its tokens")
    late = _LateBlocks(model, kept)
    model.blocks, model.norm, model.fc_norm = model.blocks[:kept], nn.Identity(), nn.Identity()
    return _EarlyBlocks(model), late


class _EarlyBlocks(nn.Module):
    """Images to the tokens (n, t, c) after the first blocks."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        tokens: Tensor = self.model.forward_features(images)
        return tokens


class _LateBlocks(nn.Module):
    """Tokens to the embedding (n, c): the class token, or the mean of the patches."""

    def __init__(self, model: Any, first: int) -> None:
        super().__init__()
        self.blocks, self.norm, self.last_norm = model.blocks[first:], model.norm, model.fc_norm
        self._takes_mean, self._before_patches = model.global_pool == "avg", model.num_prefix_tokens

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = self.norm(self.blocks(tokens))
        pooled = tokens[:, self._before_patches :].mean(dim=1) if self._takes_mean else tokens[:, 0]
        out: Tensor = self.last_norm(pooled)
        return out
