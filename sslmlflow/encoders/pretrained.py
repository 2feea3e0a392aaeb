"""Weights that torchvision publishes, from its cache or its download; as tensors only, no pickle is run."""

import re
from urllib.error import URLError

from torch import Tensor, nn
from torchvision.models import WeightsEnum, get_model_weights

from sslmlflow.errors import UserError


def published_weights(name: str) -> WeightsEnum:
    """The weights that torchvision recommends for a model; UserError if it has none."""
    weights: WeightsEnum | None = getattr(get_model_weights(name), "DEFAULT", None)
    if weights is None:
        raise UserError(f"torchvision publishes no weights for {name}: leave it out, or take weights=random.")
    return weights


def load_weights(model: nn.Module, name: str) -> None:
    """Put the published weights of `name` into the whole model; UserError if they cannot be had or do not fit."""
    weights = published_weights(name)
    try:
        tensors: dict[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
        model.load_state_dict({_today(key): tensor for key, tensor in tensors.items()})
    except (URLError, OSError) as error:
        raise UserError(
            f"the weights of {name} cannot be had from {weights.url}: {error}. Put the file into the folder "
            "hub/checkpoints of torch's cache ($TORCH_HOME, else ~/.cache/torch), or leave the model out."
        ) from error
    except Exception as error:  # torch has errors of its own for each way in which a file can be broken
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"the weights of {name} in torch's cache cannot be read or do not fit: {reason}. Delete the file "
            f"{weights.url.rpartition('/')[2]} there, and it is fetched again."
        ) from error


def _today(key: str) -> str:
    """A tensor's name; those of published DenseNets are of a time when names could hold a dot."""
    return re.sub(r"(denselayer\d+\.(?:norm|relu|conv))\.([12])\.", r"\1\2.", key)
