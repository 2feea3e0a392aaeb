"""The self-supervised methods: what each takes, and where it is written; none of their mathematics is imported."""

from dataclasses import dataclass
from typing import Any

from sslmlflow.config.options import Option, option, options_of, read_config, texts_of
from sslmlflow.errors import ConfigError


@dataclass(frozen=True)
class SimCLROptions:
    """SimCLR."""

    temperature: float = option(0.5, "temperature of the softmax over similarities", above=0)
    hidden_width: int = option(2048, "width of the projector's hidden layer", minimum=1)
    projection_width: int = option(128, "width of the projections", minimum=1)


@dataclass(frozen=True)
class SimSiamOptions:
    """SimSiam."""

    projection_width: int = option(2048, "width of the projector's hidden layers and of the projections", minimum=1)
    bottleneck_width: int = option(512, "width of the predictor's hidden layer", minimum=1)


@dataclass(frozen=True)
class MoCoOptions:
    """MoCo v2."""

    temperature: float = option(0.1, "temperature of the softmax over similarities", above=0)
    queue_size: int = option(4096, "number of earlier keys that serve as negatives", minimum=1)
    key_momentum: float = option(
        0.99, "share of its old weights that the key encoder keeps at each step", minimum=0, maximum=1
    )
    hidden_width: int = option(2048, "width of the projector's hidden layer", minimum=1)
    projection_width: int = option(128, "width of the projections", minimum=1)


@dataclass(frozen=True)
class MethodDeclaration:
    """A method's options, and the dotted path of its class."""

    path: str
    options: type


METHODS = {
    "simclr": MethodDeclaration("sslmlflow.methods.simclr.SimCLR", SimCLROptions),
    "simsiam": MethodDeclaration("sslmlflow.methods.simsiam.SimSiam", SimSiamOptions),
    "moco-v2": MethodDeclaration("sslmlflow.methods.moco.MoCo", MoCoOptions),
}


METHOD_OPTIONS: dict[str, dict[str, Option]] = {}  # by name, then by the methods that take it
for _method, _declared in METHODS.items():
    for _name, _option in options_of(_declared.options).items():
        METHOD_OPTIONS.setdefault(_name, {})[_method] = _option


def read_method_options(name: str, text: str | None) -> Any:
    """Read a method's settings from `name=value,name=value`; ConfigError names each invalid one.

    >>> read_method_options("simsiam", "bottleneck_width=64")
    SimSiamOptions(projection_width=2048, bottleneck_width=64)
    """
    given = {}
    for part in filter(None, (text or "").replace(" ", "").split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            raise ConfigError(
                f"invalid value for method_options: {text} ({part} has no value. Write name=value,name=value.)"
            )
        given[key] = value
    try:
        return read_config(METHODS[name].options, given)
    except ConfigError as error:
        raise ConfigError(f"method_options of {name}: {error}") from None


def method_options_text(name: str, text: str | None) -> str:
    """Every option of a method as `name=value,name=value`, those that are not given with their defaults."""
    options = read_method_options(name, text)
    return ",".join(f"{option}={text}" for option, text in texts_of(options).items())
