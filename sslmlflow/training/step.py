"""One step of a training."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from sslmlflow.errors import DivergedError
from sslmlflow.methods import Method
from sslmlflow.training.device import Machine
from sslmlflow.training.schedules import Schedule
from sslmlflow.training.state import State


class Taken(NamedTuple):
    """What there is to tell of a step: learning rate, losses by name, and in words what is out of the ordinary."""

    lr: float
    losses: dict[str, float]
    note: str | None = None


TakeStep = Callable[[State, Tensor, Schedule, Machine], Taken]


def start_state(method: Method, weight_decay: float) -> State:
    """The state before the first step of `ssl_step`; learning rate and momentum come from the schedule."""
    parameters = [p for p in method.parameters() if p.requires_grad]
    return State(method, {"sgd": torch.optim.SGD(parameters, lr=0.0, momentum=0.9, weight_decay=weight_decay)})


def ssl_step(state: State, views: Tensor, schedule: Schedule, machine: Machine) -> Taken:
    """One step of the method on views (2, n, 3, size, size), by SGD with momentum."""
    lr = set_rate(state, schedule)
    losses, projections = descend(state, "sgd", views, machine, lr)
    end_step(state, projections, schedule)
    return Taken(lr, losses)


def set_rate(state: State, schedule: Schedule) -> float:
    """Set learning rate and momentum of SGD for the next step; the learning rate."""
    lr, momentum = schedule.at(state.step)
    for group in state.optimisers["sgd"].param_groups:
        group["lr"], group["momentum"] = lr, momentum
    return lr


def descend(
    state: State, optimiser: str, views: Tensor, machine: Machine, lr: float
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Move an optimiser's parameters down the gradient of the method's loss; losses, and projections for `end_step`."""
    with machine.autocast():
        projections = state.method.project(views)
    losses = state.method.loss(projections)
    values = {name: loss.item() for name, loss in losses.items()}
    check_finite(values, state.step, lr)
    state.optimisers[optimiser].zero_grad(set_to_none=True)
    losses["loss"].backward()  # type: ignore[no-untyped-call]
    state.optimisers[optimiser].step()
    return values, projections


def end_step(state: State, projections: dict[str, Tensor], schedule: Schedule) -> None:
    """Update what the gradient does not, and count the step."""
    state.method.after_step(projections, progress=(state.step + 1) / schedule.total_steps)
    state.step += 1


def check_finite(losses: dict[str, float], step: int, lr: float) -> None:
    """DivergedError at a loss that is not finite; to be asked before any parameter has changed."""
    for name, value in losses.items():
        if not math.isfinite(value):
            raise DivergedError(
                f"the {name if name == 'loss' else f'loss {name}'} became {value} at step {step + 1} (learning rate "
                f"{lr:g}). The last checkpoint and all milestones before it are kept. Try a lower --lr."
            )
