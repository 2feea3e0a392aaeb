"""The training loop, as a generator of what happens; it knows the method, and nothing of where results go."""

import time
import traceback
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from sslmlflow.distributed import any_true, largest, rank, size
from sslmlflow.errors import UserError
from sslmlflow.methods import Batch, Progress
from sslmlflow.shortage import out_of_memory, shortage
from sslmlflow.training.batches import step_seed
from sslmlflow.training.device import Machine
from sslmlflow.training.schedules import Schedule
from sslmlflow.training.state import State
from sslmlflow.training.step import Taken, TakeStep, fetched, ssl_step

AT_ONCE = 16  # steps whose losses are fetched together from a device that computes ahead of the program, or those of
SECONDS = 1.0  # of about so long, so that a stop is obeyed soon

# The batch of a step, from 0, and of what the method keeps per image; None where a stop is requested meanwhile.
BatchOf = Callable[[int, Tensor | None], Batch | None]


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
class Steps:
    """Some steps were taken, whose losses are known to be finite; the state is that after the last of them."""

    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Epoch:
    """An epoch is complete: the moment to save a resume checkpoint."""

    epoch: int


@dataclass(frozen=True)
class MilestoneDue:
    """The state now is one to keep; after the initialisation, an Epoch came before."""

    epoch: int


Event = Steps | Epoch | MilestoneDue


@dataclass(frozen=True)
class Plan:
    """What decides the course of a training, besides its state and its batches."""

    epochs: int
    steps_per_epoch: int
    batch_size: int
    milestone_every: int
    seed: int
    schedule: Schedule
    workers: int = 0

    @property
    def total_steps(self) -> int:
        """Steps of the whole training."""
        return self.epochs * self.steps_per_epoch

    def is_milestone(self, epoch: int) -> bool:
        """Whether the state after `epoch` epochs is kept: initialisation, every so many, and the last."""
        return epoch % self.milestone_every == 0 or epoch == self.epochs

    def progress(self, step: int) -> Progress:
        """How far the training is once `step` steps are taken."""
        return Progress(step / self.total_steps, step / self.steps_per_epoch)


def train(
    state: State, batch_of: BatchOf, plan: Plan, machine: Machine, take_step: TakeStep = ssl_step
) -> Generator[Event, None, None]:
    """Train from where `state` stands to the end of `plan`, by `take_step`.

    A milestone that is due at the start is reported again, for a training that was stopped between a checkpoint and
    its milestone. On a processor every step is told at once, on other devices some together.

    Args:
        state: What is trained; changed in place.
        batch_of: Gives the batch of a step.
        plan: What decides the course.
        machine: Device and precision.
        take_step: Takes one step.

    Returns:
        What happens. It ends early where a stop is requested while no batch comes.

    Raises:
        DivergedError: A loss is not finite.
        UserError: Images cannot be read any more, a reading process died, or memory ran out.
    """
    epoch, within = divmod(state.step, plan.steps_per_epoch)
    if not within and plan.is_milestone(epoch):
        yield MilestoneDue(epoch)
    at_once = 1
    state.method.train()
    waiting: list[Taken] = []
    started = time.perf_counter()
    while state.step < plan.total_steps:
        taken = _one_step(state, batch_of, plan, machine, take_step)
        waiting += [taken] if taken else []
        ends = state.step % plan.steps_per_epoch == 0
        is_long = size() == 1 and time.perf_counter() - started > SECONDS  # several must agree, see `_next_at_once`
        if waiting and (ends or taken is None or is_long or len(waiting) >= at_once):
            steps = Steps(_told(waiting, plan, started))
            at_once = _next_at_once(steps, plan, machine)
            yield steps
            waiting, started = [], time.perf_counter()
        if taken is None:
            return
        if ends:
            epoch = state.step // plan.steps_per_epoch
            yield Epoch(epoch)
            if plan.is_milestone(epoch):
                yield MilestoneDue(epoch)
                state.method.train()
            started = time.perf_counter()


def _next_at_once(last: Steps, plan: Plan, machine: Machine) -> int:
    """Return how many steps to report together next, from the speed of the last ones; the same in all processes."""
    if machine.device.type == "cpu":
        return 1
    seconds = plan.batch_size / last.steps[-1].images_per_second
    return largest(min(AT_ONCE, max(1, int(SECONDS / seconds))))


def _one_step(state: State, batch_of: BatchOf, plan: Plan, machine: Machine, take_step: TakeStep) -> Taken | None:
    """Take a step; None where no batch comes."""
    step = state.step
    with _memory(plan, step + 1):
        batch = batch_of(step, state.method.difficulty)
        if any_true(batch is None) or batch is None:  # in all processes or in none
            return None
        # Dropout and stochastic depth draw from the global state: bind it to the step, and to the process.
        torch.manual_seed(step_seed(plan.seed, step) + rank())
        rates = plan.schedule.at(step)
        return Taken(step + 1, rates.lr, take_step(state, batch, plan.progress(step), rates, machine))


def _told(waiting: list[Taken], plan: Plan, started: float) -> tuple[Step, ...]:
    losses = fetched(waiting)
    speed = len(waiting) * plan.batch_size / max(time.perf_counter() - started, 1e-9)
    return tuple(
        Step(taken.step, (taken.step - 1) // plan.steps_per_epoch + 1, of_step, taken.lr, speed, taken.result.note)
        for taken, of_step in zip(waiting, losses, strict=True)
    )


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
