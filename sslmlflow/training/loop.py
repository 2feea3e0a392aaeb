"""The training loop, as a generator of what happens; it knows the method, and nothing of where results go."""

import time
import traceback
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from sslmlflow.data.source import Images
from sslmlflow.data.views import Augmentation, make_views
from sslmlflow.errors import UserError
from sslmlflow.shortage import out_of_memory, shortage
from sslmlflow.training.batches import batches, step_seed, steps_per_epoch
from sslmlflow.training.device import Machine
from sslmlflow.training.schedules import Schedule
from sslmlflow.training.state import State
from sslmlflow.training.step import TakeStep, ssl_step


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
class MilestoneDue:
    """The state now is one to keep; after the initialisation, an Epoch came before."""

    epoch: int


Event = Step | Epoch | MilestoneDue


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
) -> Generator[Event, None, None]:
    """Train from where `state` stands to the end of `plan`, by `take_step`.

    A milestone that is due at the start is reported again, for a training that was stopped between a checkpoint and
    its milestone. Close the generator to end the processes that read ahead.

    Args:
        state: What is trained; changed in place.
        images: The images to train on.
        plan: What decides the course.
        machine: Device and precision.
        take_step: Takes one step.

    Returns:
        What happens. It ends early where a stop is requested while no batch comes.

    Raises:
        DivergedError: A loss is not finite; no parameter has changed in this step.
        UserError: Images cannot be read any more, a reading process died, or memory ran out.
    """
    per_epoch = steps_per_epoch(len(images), plan.batch_size)
    total = plan.epochs * per_epoch
    epoch = state.step // per_epoch
    if state.step % per_epoch == 0 and plan.is_milestone(epoch):
        yield MilestoneDue(epoch)
    with closing(batches(images, plan.batch_size, plan.seed, state.step, total, plan.workers)) as stream:
        state.method.train()
        while state.step < total:
            epoch = state.step // per_epoch + 1
            started = time.perf_counter()
            with _memory(plan, state.step + 1):
                batch = next(stream, None)
                if batch is None:
                    return
                views = _views(batch, plan, machine, state.step)
                taken = take_step(state, views, plan.schedule, machine)
            speed = len(batch) / max(time.perf_counter() - started, 1e-9)
            yield Step(state.step, epoch, taken.losses, taken.lr, speed, taken.note)
            if state.step % per_epoch == 0:
                yield Epoch(epoch)
                if plan.is_milestone(epoch):
                    yield MilestoneDue(epoch)
                    state.method.train()


def first_views(images: Images, plan: Plan, machine: Machine, steps: int) -> Iterator[Tensor]:
    """The views (2, n, 3, size, size) of the first steps of a training."""
    with closing(batches(images, plan.batch_size, plan.seed, 0, steps, 0)) as stream:
        for step, batch in enumerate(stream):
            yield _views(batch, plan, machine, step)


@contextmanager
def _memory(plan: Plan, step: int) -> Iterator[None]:
    """Report in one sentence that memory ran out in a step."""
    try:
        yield
    except Exception as error:
        if not out_of_memory(error):
            raise
        # What the failed step holds is needed to end the job: to save, to send, to write down how the run ended.
        traceback.clear_frames(error.__traceback__)
        workers = f" and --workers={plan.workers}" if plan.workers else ""
        raise UserError(
            f"{shortage(error)} in step {step} with --batch_size={plan.batch_size}{workers}. Start another run with a "
            "lower --batch_size, a smaller encoder or smaller images."
        ) from None


def _views(batch: Tensor, plan: Plan, machine: Machine, step: int) -> Tensor:
    seed = step_seed(plan.seed, step)
    # Dropout and stochastic depth draw from the global state: bind it to the step too.
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    images = batch.to(machine.device, non_blocking=True)
    return make_views(images, plan.augmentation, plan.mean, plan.std, generator)
