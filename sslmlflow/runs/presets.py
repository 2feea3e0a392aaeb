"""What every `auto` of a training becomes: what was given, else the preset's value, else the method's recipe."""

from dataclasses import dataclass, field

from sslmlflow.config.pretrain import Pretrain
from sslmlflow.methods import recipe_of


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
    optimiser: str
    lr: float
    weight_decay: float
    weight_decay_end: float
    clip: float  # 0 for none
    schedule: str
    warmup_epochs: int
    method_options: str | None


def settle(config: Pretrain) -> Settings:
    """Settle what does not depend on the images."""
    preset, recipe = PRESETS[config.preset], recipe_of(config.method, config.encoder)
    # Of an option that is there twice the later is taken: what is given wins over the preset.
    of_method = recipe.method_options, preset.method_options.get(config.method), config.method_options
    epochs = config.epochs or preset.epochs or recipe.epochs
    batch_size = config.batch_size or preset.batch_size
    own_schedule = config.schedule == "auto"
    decay = _first(config.weight_decay, recipe.weight_decay)
    return Settings(
        width=config.width or preset.width,
        epochs=epochs,
        batch_size=batch_size,
        milestone_every=config.milestone_every or preset.milestone_every,
        optimiser=recipe.optimiser if config.optimiser == "auto" else config.optimiser,
        lr=config.lr or preset.lr.get(config.method) or recipe.lr_of(batch_size),
        weight_decay=decay,
        weight_decay_end=_first(config.weight_decay_end, recipe.weight_decay_end, decay),
        clip=_first(config.clip, recipe.clip, 0.0),
        schedule=recipe.schedule if own_schedule else config.schedule,
        warmup_epochs=min(config.warmup_epochs, round(epochs / 10)) if own_schedule else config.warmup_epochs,
        method_options=",".join(filter(None, of_method)) or None,
    )


def _first(*values: float | None) -> float:
    """The first that is given."""
    return next(value for value in values if value is not None)
