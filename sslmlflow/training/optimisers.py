"""Optimisers by name, and what a checkpoint keeps of one: its tensors by the names of the parameters."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sslmlflow.methods import Recipe
from sslmlflow.training.schedules import Rates

NAMES = ("sgd", "lars", "adamw")
BETA_2 = 0.999


@dataclass(frozen=True)
class Optimising:
    """Which optimiser, and what of it no schedule changes; see `Recipe`."""

    name: str = "sgd"
    decay_all: bool = False
    trust: float = 0.001
    trust_clip: bool = False
    clip: float | None = None

    @classmethod
    def of(cls, recipe: Recipe, name: str, clip: float) -> "Optimising":
        """That of a method's recipe, but for its name and the longest gradient, 0 for none."""
        return cls(name, recipe.decay_all, recipe.trust, recipe.trust_clip, clip or None)


@dataclass
class Optimiser:
    """An optimiser, the parameters that it changes by their names, and how long their gradient may be."""

    of: torch.optim.Optimizer
    parameters: Mapping[str, nn.Parameter]
    clip: float | None = None

    def set_rates(self, rates: Rates) -> None:
        """Set learning rate, momentum and weight decay of the next step."""
        for group in self.of.param_groups:
            group["lr"] = rates.lr
            if "betas" in group:
                group["betas"] = (rates.momentum, BETA_2)
            else:
                group["momentum"] = rates.momentum
            if group["decays"]:
                group["weight_decay"] = rates.weight_decay

    def step(self) -> None:
        """Move the parameters down their gradients, and forget these."""
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.parameters.values(), self.clip)
        self.of.step()
        self.of.zero_grad(set_to_none=True)

    def tensors(self) -> dict[str, Tensor]:
        """All tensors of its state, as `parameter.key`."""
        state = self.of.state
        return {
            f"{name}.{key}": value
            for name, parameter in self.parameters.items()
            if parameter in state
            for key, value in state[parameter].items()
            if isinstance(value, Tensor)
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take back what `tensors` gave; earlier builds named parameters by their order."""
        names = list(self.parameters)
        self.of.state.clear()
        for path, tensor in tensors.items():
            name, _, key = path.rpartition(".")
            parameter = self.parameters[names[int(name)] if name.isdecimal() else name]
            # empty_like keeps the memory format of the parameter, on which the speed of a step depends.
            alike = tensor.shape == parameter.shape and tensor.ndim > 0
            self.of.state[parameter][key] = torch.empty_like(parameter).copy_(tensor) if alike else tensor.clone()


def build_optimiser(how: Optimising, parameters: Mapping[str, nn.Parameter]) -> Optimiser:
    """An optimiser by its name; its rates come with every step.

    Biases and the parameters of norms, all of one dimension, neither decay nor have LARS's ratio, unless `decay_all`.

    Raises:
        ValueError: There is no optimiser of this name.
    """
    if how.name not in NAMES:
        raise ValueError(f"optimiser {how.name} is not one of {', '.join(NAMES)}")
    spared = [p for p in parameters.values() if p.ndim <= 1 and not how.decay_all]
    rest = [p for p in parameters.values() if p.ndim > 1 or how.decay_all]
    kinds = [(rest, True), (spared, False)]
    groups = [{"params": of, "decays": decays, **_of_group(how, decays)} for of, decays in kinds if of]
    return Optimiser(_OPTIMISERS[how.name](groups), parameters, how.clip)


def _of_group(how: Optimising, decays: bool) -> dict[str, Any]:
    """What a group has of its own: a group without decay has none of LARS's ratio either."""
    ours: dict[str, Any] = {"weight_decay": 0.0}
    if how.name == "lars":
        ours |= {"trust_coeff": how.trust, "trust_clip": how.trust_clip, "always_adapt": decays}
    return ours


def _lars(groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    from timm.optim.lars import Lars

    return Lars(groups, lr=0.0)


_OPTIMISERS: dict[str, Any] = {
    "sgd": lambda groups: torch.optim.SGD(groups, lr=0.0, momentum=0.9),
    "lars": _lars,
    "adamw": lambda groups: torch.optim.AdamW(groups, lr=0.0),
}
