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


_HIDDEN = "width of the hidden layers of the projector"
_TEACHER = "share of its old weights that the teacher keeps at each step, at the start; 1 at the end"


@dataclass(frozen=True)
class BYOLOptions:
    """BYOL."""

    hidden_width: int = option(4096, f"{_HIDDEN} and of the predictor", minimum=1)
    projection_width: int = option(256, "width of the projections", minimum=1)
    teacher_momentum: float = option(0.99, _TEACHER, minimum=0, maximum=1)


@dataclass(frozen=True)
class BarlowTwinsOptions:
    """Barlow Twins."""

    redundancy: float = option(0.0051, "weight of the correlations of different features", minimum=0)
    loss_scale: float = option(0.1, "factor of the loss", above=0)
    hidden_width: int = option(2048, _HIDDEN, minimum=1)
    projection_width: int = option(2048, "width of the projections", minimum=1)


@dataclass(frozen=True)
class VICRegOptions:
    """VICReg."""

    invariance: float = option(25.0, "weight of the distance of the views", minimum=0)
    variance: float = option(25.0, "weight of features that vary too little", minimum=0)
    covariance: float = option(1.0, "weight of features that vary together", minimum=0)
    hidden_width: int = option(2048, _HIDDEN, minimum=1)
    projection_width: int = option(2048, "width of the projections", minimum=1)


@dataclass(frozen=True)
class VICRegLOptions(VICRegOptions):
    """VICRegL."""

    global_share: float = option(
        0.75, "weight of the loss of whole views; the rest goes to positions", minimum=0, maximum=1
    )
    match_share: float = option(0.4, "share of the positions of a feature map that are matched", above=0, maximum=1)
    local_width: int = option(512, "widths of the projector of positions", minimum=1)


@dataclass(frozen=True)
class SwAVOptions:
    """SwAV."""

    temperature: float = option(0.1, "temperature of the softmax over prototypes", above=0)
    prototypes: int = option(3000, "number of prototypes", minimum=2)
    sinkhorn_eps: float = option(0.05, "softness of the assignments to prototypes", above=0)
    queue_size: int = option(3840, "number of earlier projections of either view used in the assignments", minimum=1)
    queue_start: float = option(
        0.05, "share of the training after which the queue is used; 1: never", minimum=0, maximum=1
    )
    frozen_epochs: int = option(1, "epochs in which the prototypes are frozen", minimum=0)
    hidden_width: int = option(2048, _HIDDEN, minimum=1)
    projection_width: int = option(128, "width of the projections", minimum=1)


@dataclass(frozen=True)
class DINOOptions:
    """DINO."""

    temperature: float = option(0.1, "temperature of the student's softmax", above=0)
    teacher_temperature_start: float = option(0.04, "temperature of the teacher's softmax at the start", above=0)
    teacher_temperature: float = option(0.07, "temperature of the teacher's softmax after its rise", above=0)
    teacher_temperature_epochs: int = option(30, "epochs over which the temperature of the teacher rises", minimum=1)
    teacher_momentum: float = option(0.9995, _TEACHER, minimum=0, maximum=1)
    centre_momentum: float = option(
        0.9, "share of its old value that the teacher's centre keeps at each step", minimum=0, maximum=1
    )
    frozen_epochs: int = option(1, "epochs in which the last layer stays as it was drawn", minimum=0)
    prototypes: int = option(4096, "number of outputs", minimum=2)
    hidden_width: int = option(2048, "width of the hidden layers of the head", minimum=1)
    bottleneck_width: int = option(256, "width of the layer before the last", minimum=1)


@dataclass(frozen=True)
class MethodDeclaration:
    """A method's options, and the dotted path of its class."""

    path: str
    options: type


METHODS = {
    "simclr": MethodDeclaration("sslmlflow.methods.simclr.SimCLR", SimCLROptions),
    "simsiam": MethodDeclaration("sslmlflow.methods.simsiam.SimSiam", SimSiamOptions),
    "moco-v2": MethodDeclaration("sslmlflow.methods.moco.MoCo", MoCoOptions),
    "byol": MethodDeclaration("sslmlflow.methods.byol.BYOL", BYOLOptions),
    "barlow-twins": MethodDeclaration("sslmlflow.methods.barlow_twins.BarlowTwins", BarlowTwinsOptions),
    "vicreg": MethodDeclaration("sslmlflow.methods.vicreg.VICReg", VICRegOptions),
    "vicregl": MethodDeclaration("sslmlflow.methods.vicregl.VICRegL", VICRegLOptions),
    "swav": MethodDeclaration("sslmlflow.methods.swav.SwAV", SwAVOptions),
    "dino": MethodDeclaration("sslmlflow.methods.dino.DINO", DINOOptions),
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
