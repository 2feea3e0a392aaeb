"""One step of a training."""

from collections.abc import Callable, Sequence
from math import isfinite
from typing import NamedTuple

import torch
from torch import Tensor

from sslmlflow.distributed import averaged, mean
from sslmlflow.errors import DivergedError
from sslmlflow.methods import Batch, Method, Progress
from sslmlflow.training.device import Machine
from sslmlflow.training.optimisers import Optimising, build_optimiser
from sslmlflow.training.schedules import Rates
from sslmlflow.training.state import State


class StepResult(NamedTuple):
    """What there is to tell of a step: losses by name, on the device, and in words what is out of the ordinary."""

    losses: dict[str, Tensor]
    note: str | None = None


class Taken(NamedTuple):
    """A step that was taken: its number, counted from 1, and learning rate."""

    step: int
    lr: float
    result: StepResult


TakeStep = Callable[[State, Batch, Progress, Rates, Machine], StepResult]


def start_state(method: Method, how: Optimising) -> State:
    """The state before the first step of `ssl_step`; its rates come from the schedule."""
    groups = method.parameter_groups()
    return State(method, {name: build_optimiser(how, parameters) for name, parameters in groups.items()})


def ssl_step(state: State, batch: Batch, progress: Progress, rates: Rates, machine: Machine) -> StepResult:
    """One step of the method by its optimisers, all at the same rates."""
    state.method.before_step(progress)
    for optimiser in state.optimisers.values():
        optimiser.set_rates(rates)
    losses, out = descend(state, tuple(state.optimisers), batch, progress, machine)
    end_step(state, out, progress)
    return StepResult(losses)


def descend(
    state: State, optimisers: Sequence[str], batch: Batch, progress: Progress, machine: Machine
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Move parameters down the gradients of the method's losses; the losses, and the projections for `end_step`.

    The first of the optimisers goes down `loss`, any other the loss of its own name.
    """
    with machine.autocast():
        out = state.method.shared(state.method.project(batch))
    losses = state.method.loss(out, progress)
    first, *others = (state.optimisers[name] for name in optimisers)
    slopes = [
        torch.autograd.grad(losses[name], tuple(other.parameters.values()), retain_graph=True)
        for name, other in zip(optimisers[1:], others, strict=True)
    ]
    losses["loss"].backward()  # type: ignore[no-untyped-call]
    moved = [parameter for parameter in first.parameters.values() if parameter.grad is not None]
    for parameter, slope in zip(moved, averaged([of.grad for of in moved if of.grad is not None]), strict=True):
        parameter.grad = slope
    for other, theirs in zip(others, slopes, strict=True):
        for parameter, slope in zip(other.parameters.values(), averaged(theirs), strict=True):
            parameter.grad = slope
        other.step()
    first.step()
    return {name: loss.detach() for name, loss in losses.items()}, out


def end_step(state: State, out: dict[str, Tensor], progress: Progress) -> None:
    """Update what the gradient does not, and count the step; `progress` was that of the step."""
    state.method.after_step(out, progress)
    state.step += 1


def fetched(steps: Sequence[Taken]) -> list[dict[str, float]]:
    """The losses of steps as numbers, means over the processes, in one wait for the device.

    DivergedError, in all processes, at one that is not finite.
    """
    names = [(place, name) for place, taken in enumerate(steps) for name in taken.result.losses]
    values = [steps[place].result.losses[name] for place, name in names]
    exact = torch.float32 if values[0].device.type == "mps" else torch.float64
    found: list[dict[str, float]] = [{} for _ in steps]
    means = mean(torch.stack([v.to(exact) for v in values]))
    for (place, name), value in zip(names, means.tolist(), strict=True):
        found[place][name] = value
    for taken, losses in zip(steps, found, strict=True):
        check_finite(losses, taken.step, taken.lr)
    return found


def check_finite(losses: dict[str, float], step: int, lr: float) -> None:
    """DivergedError at a loss of a step, counted from 1, that is not finite."""
    for name, value in losses.items():
        if not isfinite(value):
            raise DivergedError(
                f"the {name if name == 'loss' else f'loss {name}'} became {value} at step {step} (learning rate "
                f"{lr:g}). The last checkpoint and all milestones before it are kept. Try a lower --lr."
            )
