"""The training loop, as a generator of what happens; it knows the method, and nothing of where results go."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sslmlflow.data.source import Images
from sslmlflow.data.views import Augmentation, make_views
from sslmlflow.training.batches import batches, step_seed, steps_per_epoch
from sslmlflow.training.device import Machine
from sslmlflow.training.schedules import Schedule
from sslmlflow.training.step import State, TakeStep, ssl_step


@dataclass(frozen=True)
class Step:
    """One optimiser step was taken; `step` counts from 1, `note` says what was out of the ordinary."""

    step: int
    epoch: int
    losses: dict[str, float]
    lr: float
    images_per_second: float
    note: str | None = None


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


def train(
    state: State, images: Images, plan: Plan, machine: Machine, take_step: TakeStep = ssl_step
) -> Iterator[Event]:
    """Train from where `state` stands to the end of `plan`, by `take_step`.

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
        taken = take_step(state, views, plan.schedule, machine)
        speed = len(batch) / max(time.perf_counter() - started, 1e-9)
        yield Step(state.step, epoch, taken.losses, taken.lr, speed, taken.note)
        if state.step % per_epoch == 0:
            yield Epoch(epoch)
            if plan.is_milestone(epoch):
                yield Milestone(epoch)
                state.method.train()
        started = time.perf_counter()


def _views(batch: Tensor, plan: Plan, machine: Machine, step: int) -> Tensor:
    seed = step_seed(plan.seed, step)
    # Dropout and stochastic depth draw from the global state: bind it to the step too.
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    images = batch.to(machine.device, non_blocking=True)
    return make_views(images, plan.augmentation, plan.mean, plan.std, generator)
