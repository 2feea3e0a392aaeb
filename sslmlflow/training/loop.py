"""The training loop, as a generator of what happens; it knows the method, and nothing of where results go."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sslmlflow.data.source import Images
from sslmlflow.data.views import Augmentation, make_views
from sslmlflow.errors import UserError
from sslmlflow.methods import Method
from sslmlflow.training.batches import batches, step_seed, steps_per_epoch
from sslmlflow.training.device import Machine
from sslmlflow.training.schedules import Schedule


@dataclass(frozen=True)
class Step:
    """One optimiser step was taken; `step` counts from 1."""

    step: int
    epoch: int
    losses: dict[str, float]
    lr: float
    images_per_second: float


@dataclass(frozen=True)
class Epoch:
    """An epoch is complete: the moment to save a resume checkpoint."""

    epoch: int


@dataclass(frozen=True)
class Milestone:
    """The state now is one to keep; after the initialisation, an Epoch came before."""

    epoch: int


Event = Step | Epoch | Milestone


@dataclass(frozen=True)
class Plan:
    """Everything that decides the course of a training, besides its state."""

    epochs: int
    batch_size: int
    milestone_every: int
    seed: int
    schedule: Schedule
    augmentation: Augmentation
    mean: Tensor
    std: Tensor
    workers: int = 0

    def is_milestone(self, epoch: int) -> bool:
        """Whether the state after `epoch` epochs is kept: initialisation, every so many, and the last."""
        return epoch % self.milestone_every == 0 or epoch == self.epochs


@dataclass
class State:
    """What a training changes, and a checkpoint holds."""

    method: Method
    optimiser: torch.optim.SGD
    step: int = 0

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name: the method's state and the optimiser's momentum."""
        momentum = self.optimiser.state_dict()["state"]
        return {f"method.{name}": tensor for name, tensor in self.method.state_dict().items()} | {
            f"momentum.{index}": state["momentum_buffer"] for index, state in momentum.items()
        }

    def restore(self, step: int, tensors: dict[str, Tensor]) -> None:
        """Take back what `tensors` gave."""
        method, momentum = _split_by_prefix(tensors)
        self.method.load_state_dict(method)
        parameters = self.optimiser.param_groups[0]["params"]
        # empty_like keeps the memory format of the parameter, on which the speed of a step depends.
        state = {
            int(index): {"momentum_buffer": torch.empty_like(parameters[int(index)]).copy_(tensor)}
            for index, tensor in momentum.items()
        }
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": state})
        self.step = step


def start_state(method: Method, weight_decay: float) -> State:
    """The state before the first step; learning rate and momentum come from the schedule."""
    parameters = [p for p in method.parameters() if p.requires_grad]
    return State(method, torch.optim.SGD(parameters, lr=0.0, momentum=0.9, weight_decay=weight_decay))


def train(state: State, images: Images, plan: Plan, machine: Machine) -> Iterator[Event]:
    """Train from where `state` stands to the end of `plan`.

    A milestone that is due at the start is told again: whoever was stopped between a checkpoint and its
    milestone makes up for it. UserError at a loss that is not finite, before any parameter has changed.
    """
    per_epoch = steps_per_epoch(len(images), plan.batch_size)
    epoch = state.step // per_epoch
    if state.step % per_epoch == 0 and plan.is_milestone(epoch):
        yield Milestone(epoch)
    stream = batches(images, plan.batch_size, plan.seed, state.step, plan.epochs * per_epoch, plan.workers)
    state.method.train()
    started = time.perf_counter()
    for batch in stream:
        epoch = state.step // per_epoch + 1
        views = _views(batch, plan, machine, state.step)
        lr, losses = ssl_step(state, views, plan.schedule, machine)
        yield Step(state.step, epoch, losses, lr, len(batch) / max(time.perf_counter() - started, 1e-9))
        if state.step % per_epoch == 0:
            yield Epoch(epoch)
            if plan.is_milestone(epoch):
                yield Milestone(epoch)
                state.method.train()
        started = time.perf_counter()


def ssl_step(state: State, views: Tensor, schedule: Schedule, machine: Machine) -> tuple[float, dict[str, float]]:
    """One step of the method on views (2, n, 3, size, size); the learning rate used, and the losses."""
    method, optimiser = state.method, state.optimiser
    lr, momentum = schedule.at(state.step)
    for group in optimiser.param_groups:
        group["lr"], group["momentum"] = lr, momentum
    with machine.autocast():
        projections = method.project(views)
    losses = method.loss(projections)
    values = {name: loss.item() for name, loss in losses.items()}
    if not math.isfinite(values["loss"]):
        raise UserError(
            f"the loss became {values['loss']} at step {state.step + 1} (learning rate {lr:g}). "
            "The last checkpoint and all milestones before it are kept. Try a lower --lr."
        )
    optimiser.zero_grad(set_to_none=True)
    losses["loss"].backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    method.after_step(projections, progress=(state.step + 1) / schedule.total_steps)
    state.step += 1
    return lr, values


def _views(batch: Tensor, plan: Plan, machine: Machine, step: int) -> Tensor:
    seed = step_seed(plan.seed, step)
    # Dropout and stochastic depth draw from the global state: bind it to the step too.
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    images = batch.to(machine.device, non_blocking=True)
    return make_views(images, plan.augmentation, plan.mean, plan.std, generator)


def _split_by_prefix(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    parts: dict[str, dict[str, Tensor]] = {"method": {}, "momentum": {}}
    for name, tensor in tensors.items():
        prefix, _, rest = name.partition(".")
        parts[prefix][rest] = tensor
    return parts["method"], parts["momentum"]
