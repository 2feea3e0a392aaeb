"""Weights that torchvision publishes, from its cache or its download; as tensors only, no pickle is run."""

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import URLError

import torch
from torch import Tensor, nn

from sslmlflow.errors import ConfigError, UserError, in_short

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum


@dataclass(frozen=True)
class Published:
    """Weights by their name, the side in pixels on which they were trained, and how channels were normalised."""

    weights: str
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


def torchvision_published(name: str) -> Published:
    """What torchvision publishes for a model."""
    weights = published_weights(name)
    transform: Any = weights.transforms()
    return Published(str(weights), transform.crop_size[0], tuple(transform.mean), tuple(transform.std))


def published_weights(name: str) -> "WeightsEnum":
    """The weights that torchvision recommends for a model; all its classification models have some."""
    from torchvision.models import get_model_weights  # not above: torchvision brings torch's compiler

    weights: WeightsEnum = get_model_weights(name).DEFAULT
    return weights


def named_weights(name: str, weights: str) -> "WeightsEnum":
    """The weights of a model that torchvision publishes under a name, or those it recommends for `imagenet`."""
    from torchvision.models import get_model_weights

    known = {str(one): one for one in get_model_weights(name)}
    if weights == "imagenet":
        return published_weights(name)
    if weights not in known:
        raise ConfigError(
            f"invalid value for init: {weights} (must be random, imagenet, {', '.join(known)}, or timm/ and the name "
            f"of a model of timm with the layers of {name})."
        )
    found: WeightsEnum = known[weights]
    return found


def load_weights(model: nn.Module, name: str) -> None:
    """Put the published weights of `name` into the whole model; UserError if they cannot be had or do not fit."""
    read_weights(name, published_weights(name), model)


def read_weights(name: str, weights: "WeightsEnum", model: nn.Module | None = None) -> dict[str, Tensor]:
    """Published weights by today's names, put into the whole model where one is given; UserError as `load_weights`."""
    _note_other_file(Path(torch.hub.get_dir(), "checkpoints", weights.url.rpartition("/")[2]))
    try:
        tensors: dict[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
        named = {_today(key): tensor for key, tensor in tensors.items()}
        if model is not None:
            model.load_state_dict(named)
        return named
    except (URLError, OSError) as error:
        raise UserError(
            f"the weights of {name} cannot be had from {weights.url}: {in_short(error)}. Put the file into the folder "
            "hub/checkpoints of torch's cache ($TORCH_HOME, else ~/.cache/torch), or go without these weights."
        ) from error
    except Exception as error:  # torch has errors of its own for each way in which a file can be broken
        raise UserError(
            f"the weights of {name} in torch's cache cannot be read or do not fit: {in_short(error)}. Delete the file "
            f"{weights.url.rpartition('/')[2]} there, and it is fetched again."
        ) from error


@cache
def _note_other_file(path: Path) -> None:
    """Say where a file in the cache is not what its name says: a download would be checked, what lies there is not."""
    digest = path.stem.rpartition("-")[2]
    if path.exists() and len(digest) >= 8 and not hashlib.sha256(path.read_bytes()).hexdigest().startswith(digest):
        print(f"note: {path} is not the file that is published under this name: its SHA-256 is another")


def _today(key: str) -> str:
    """A tensor's name; those of published DenseNets are of a time when names could hold a dot."""
    return re.sub(r"(denselayer\d+\.(?:norm|relu|conv))\.([12])\.", r"\1\2.", key)
