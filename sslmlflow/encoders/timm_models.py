"""Models of timm, called timm/NAME or timm/NAME.TAG, with the weights that it publishes; no pickle is run."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from sslmlflow.config.options import nearest
from sslmlflow.encoders.encoder import Encoder, EncoderSpec, Upscale, pool
from sslmlflow.encoders.pretrained import Published
from sslmlflow.errors import ConfigError, UserError, in_short

PREFIX = "timm/"


class TimmEncoder(Encoder):
    """A model that cannot be cut in two: it runs as a whole, and its early layer is listened to."""

    def __init__(self, model: nn.Module, early_layer: str, channels: int, spec: EncoderSpec) -> None:
        nn.Module.__init__(self)
        self.block = spec.block
        self.scale = Upscale(spec.image_size) if spec.upscale else nn.Identity()
        self.model = model
        self._channels = channels
        self._heard: Tensor | None = None
        model.get_submodule(early_layer).register_forward_hook(self._hear)
        self._input_shape = 3, spec.image_size, spec.image_size
        self.early_width, self.embedding_width = self._widths()

    def forward(self, images: Tensor) -> Tensor:
        return self.embed(images)[1]

    def embed(self, images: Tensor) -> tuple[Tensor, Tensor]:
        embedding = self.model(self.scale(images))
        heard, self._heard = self._heard, None
        assert heard is not None, "the model did not run its early layer"
        if heard.ndim == 4 and heard.shape[1] != self._channels:  # transformers with windows keep channels last
            heard = heard.permute(0, 3, 1, 2)
        return pool(heard), embedding

    def _hear(self, layer: nn.Module, given: Any, output: Tensor) -> None:
        self._heard = output


def check_timm(name: str) -> None:
    """ConfigError if timm has no model of this name; a repository or folder that timm would load is none."""
    import timm

    known = timm.list_models()
    architecture, _, tag = name.removeprefix(PREFIX).partition(".")
    if architecture not in known:
        suggestion = nearest(architecture, known)
        if suggestion and tag in _tags(suggestion):
            suggestion += f".{tag}"
        raise ConfigError(
            f"{name} is not a model of timm."
            + (f" Did you mean {PREFIX}{suggestion}?" if suggestion else "")
            + " Allowed: timm/ and a name of timm.list_models()."
        )
    tags = _tags(architecture)
    if tag and tag not in tags:
        raise ConfigError(f"{architecture} has no weights {tag} in timm. Allowed: {', '.join(sorted(tags)) or 'none'}.")


def _tags(architecture: str) -> list[str]:
    """The weights that timm has for an architecture."""
    import timm

    return [full.partition(".")[2] for full in timm.list_pretrained(f"{architecture}.*")]


def timm_encoder(spec: EncoderSpec) -> Encoder:
    """The model that `spec` names; ConfigError where it does not take the size, UserError without its weights.

    Its early layer is the last before the resolution falls for the last time or, where it falls only at the beginning,
    that after three quarters of the layers.
    """
    import timm

    sized: dict[str, Any] = {"img_size": spec.image_size} if _about(spec.name).fixed_input_size else {}
    try:
        model = timm.create_model(spec.name.removeprefix(PREFIX), spec.published, num_classes=0, **sized)
    except (RuntimeError, TypeError, ValueError, AssertionError, KeyError) as error:
        if spec.published:
            raise _no_weights(spec.name, error) from error
        raise ConfigError(
            f"{spec.name} cannot be used with {spec.image_size} px images ({in_short(error)})."
        ) from error
    except Exception as error:  # the hub has errors of its own for each way in which a file cannot be had
        raise _no_weights(spec.name, error) from error
    layer, channels = _early_layer(spec.name, model)
    try:
        return TimmEncoder(model, layer, channels, spec)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"{spec.name} cannot be used with {spec.image_size} px images ({in_short(error)})."
        ) from error


def timm_tensors(name: str) -> dict[str, Tensor]:
    """The weights that timm publishes for a model, under its names; UserError if they cannot be had."""
    import timm

    with weights_of(name):
        return dict(timm.create_model(name.removeprefix(PREFIX), pretrained=True).state_dict())


@contextmanager
def weights_of(name: str) -> Iterator[None]:
    """Report in a sentence that the published weights of a model cannot be had."""
    try:
        yield
    except Exception as error:  # the hub has errors of its own for each way in which a file cannot be had
        raise _no_weights(name, error) from error


def timm_published(name: str) -> Published:
    """What timm publishes for a model; weights called "" are none."""
    about = _about(name)
    return Published(about.hf_hub_id or about.url or "", about.input_size[-1], tuple(about.mean), tuple(about.std))


def _about(name: str) -> Any:
    import timm

    return timm.get_pretrained_cfg(name.removeprefix(PREFIX))


def _early_layer(name: str, model: Any) -> tuple[str, int]:
    """The early layer's name and how many channels it has."""
    layers = [layer for layer in getattr(model, "feature_info", []) if layer.get("module")]
    if len(layers) < 2:
        raise ConfigError(f"{name} cannot be used: timm does not say what its layers are.")
    finer = [layer for layer in layers if layer["reduction"] < layers[-1]["reduction"]]
    found = finer[-1] if finer else layers[len(layers) * 3 // 4 - 1]
    return str(found["module"]), int(found["num_chs"])


def _no_weights(name: str, error: Exception) -> UserError:
    repository = _about(name).hf_hub_id
    wanted = f" (model.safetensors of {repository} on the Hugging Face Hub)" if repository else ""
    return UserError(
        f"the weights of {name}{wanted} cannot be had or do not fit: {in_short(error).rstrip('.')}. Where there is no "
        "access to the hub, put the repository into its cache ($HF_HOME/hub, else ~/.cache/huggingface/hub), or go "
        "without these weights; with HF_HUB_OFFLINE=1 in the environment nothing is waited for."
    )
