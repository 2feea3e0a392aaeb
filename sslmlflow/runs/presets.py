"""What every `auto` of a training becomes: what was given, else the preset's value, else the method's recipe."""

from dataclasses import dataclass, field

from sslmlflow.config.pretrain import Pretrain
from sslmlflow.methods import method_class


@dataclass(frozen=True)
class Preset:
    """Values for what is left `auto`; `lr` and `method_options` by method, where its recipe is not meant."""

    width: int
    batch_size: int
    milestone_every: int
    probe: str
    epochs: int | None = None
    lr: dict[str, float] = field(default_factory=dict)
    method_options: dict[str, str] = field(default_factory=dict)


PRESETS = {
    # Xu, Lowe and Trappenberg, section III; the paper does not print its batch size.
    "monitoring-paper": Preset(width=64, batch_size=256, milestone_every=20, probe="autoaugment"),
    "small": Preset(
        width=8,
        batch_size=64,
        milestone_every=2,
        probe="plain",
        epochs=16,
        lr={"simclr": 0.1},
        method_options={"simclr": "temperature=0.2"},
    ),
}


@dataclass(frozen=True)
class Settings:
    """The settled values of a training."""

    width: int
    epochs: int
    batch_size: int
    milestone_every: int
    lr: float
    weight_decay: float
    schedule: str
    method_options: str | None


def settle(config: Pretrain) -> Settings:
    """Settle what does not depend on the images."""
    preset, recipe = PRESETS[config.preset], method_class(config.method).recipe
    # Of an option that is there twice the later is taken: what is given wins over the preset.
    of_method = preset.method_options.get(config.method), config.method_options
    return Settings(
        width=config.width or preset.width,
        epochs=config.epochs or preset.epochs or recipe.epochs,
        batch_size=config.batch_size or preset.batch_size,
        milestone_every=config.milestone_every or preset.milestone_every,
        lr=config.lr or preset.lr.get(config.method, recipe.lr),
        weight_decay=recipe.weight_decay if config.weight_decay is None else config.weight_decay,
        schedule=config.schedule if config.schedule != "auto" else recipe.schedule,
        method_options=",".join(filter(None, of_method)) or None,
    )
