"""Self-supervised methods by name; to add one, write its file and name it here and in `config.pretrain`."""

import torch

from sslmlflow.config.options import read_config, texts_of
from sslmlflow.encoders import Encoder
from sslmlflow.errors import ConfigError
from sslmlflow.methods.base import Method, Recipe
from sslmlflow.methods.moco import MoCo
from sslmlflow.methods.simclr import SimCLR
from sslmlflow.methods.simsiam import SimSiam

__all__ = ["METHODS", "Method", "Recipe", "build_method", "method_options_text", "read_method_options"]

METHODS: dict[str, type[Method]] = {"simclr": SimCLR, "simsiam": SimSiam, "moco-v2": MoCo}


def build_method(name: str, method_options: str | None, encoder: Encoder, seed: int) -> Method:
    """A method around `encoder`, its heads drawn from `seed`; the global random state is left alone."""
    options = read_method_options(name, method_options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return METHODS[name](encoder, options)


def read_method_options(name: str, text: str | None) -> object:
    """A method's settings from `name=value,name=value`; ConfigError names what is not possible."""
    given = {}
    for part in filter(None, (text or "").replace(" ", "").split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            raise ConfigError(
                f"method_options={text} is not possible: {part} has no value. Write name=value,name=value."
            )
        given[key] = value
    try:
        return read_config(METHODS[name].Options, given)
    except ConfigError as error:
        raise ConfigError(f"method_options of {name}: {error}") from None


def method_options_text(name: str, text: str | None) -> str:
    """Every option of a method as `name=value,name=value`, those that are not given with their defaults."""
    return ",".join(f"{option}={value}" for option, value in texts_of(read_method_options(name, text)).items())
