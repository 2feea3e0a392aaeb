"""The training loop: what it tells and in which order, exact resume, and a loss that is not finite."""

import itertools
import math
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sslmlflow.data.augmentation import Augmentation, CropGroup, Views
from sslmlflow.data.preprocess import Preprocessing
from sslmlflow.data.source import ArrayImages, Images
from sslmlflow.data.stacks import symmetric
from sslmlflow.errors import UserError
from sslmlflow.methods import Batch, build_method
from sslmlflow.runs.views import ViewBatches
from sslmlflow.training.checkpoint import load_checkpoint, save_checkpoint
from sslmlflow.training.device import Machine
from sslmlflow.training.loop import BatchOf, Epoch, Event, MilestoneDue, Plan, Step, Steps, train
from sslmlflow.training.optimisers import Optimising
from sslmlflow.training.schedules import Schedule
from sslmlflow.training.state import State
from sslmlflow.training.step import StepResult, Taken, fetched, start_state
from tests.encoders.tiny import tiny_encoder

CPU = Machine(torch.device("cpu"), "float32")
IMAGES = ArrayImages(np.random.default_rng(0).integers(0, 256, (11, 3, 8, 8), np.uint8))
VIEWS = symmetric(8)
STEPS = 6  # 3 epochs of 11 // 4 batches


def plan(**changes: object) -> Plan:
    usual = Plan(
        epochs=3,
        steps_per_epoch=2,
        batch_size=4,
        milestone_every=2,
        seed=1,
        schedule=Schedule("one-cycle", 0.1, STEPS, weight_decay=1e-3),
    )
    return replace(usual, **changes)


def batches(of: Plan, images: Images = IMAGES, views: Views = VIEWS, workers: int = 0) -> ViewBatches:
    preprocessing = Preprocessing(8, 3, (0.5, 0.5, 0.5), (0.3, 0.3, 0.3))
    return ViewBatches(images, views, preprocessing, of.batch_size, of.seed, of.total_steps, CPU.device, workers)


def training(
    state: State,
    images: Images = IMAGES,
    views: Views = VIEWS,
    machine: Machine = CPU,
    workers: int = 0,
    **changes: object,
) -> Iterator[Step | Epoch | MilestoneDue]:
    """What happens; on a processor the steps are told one by one."""
    course = plan(**changes)
    with closing(batches(course, images, views, workers)) as stream:
        for event in train(state, stream, course, machine):
            if isinstance(event, Steps):
                yield from event.steps
                assert len(event.steps) == 1
            else:
                yield event


def fresh(method: str = "simclr", dropout: float = 0.0) -> State:
    options = "hidden_width=8,projection_width=4" + (",queue_size=10" if method == "moco-v2" else "")
    built = build_method(method, options, tiny_encoder(dropout=dropout), seed=0)
    # The layout in memory in which the job trains.
    return start_state(built.to(memory_format=torch.channels_last), Optimising())


@dataclass
class History:
    """The losses of the steps, and copies of the state before the first and after each."""

    losses: list[float]
    states: list[dict[str, torch.Tensor]]


def copied(state: State) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in state.tensors().items()}


def follow(state: State, **changes: object) -> History:
    history = History([], [copied(state)])
    for event in training(state, **changes):
        if isinstance(event, Step):
            history.losses.append(event.losses["loss"])
            history.states.append(copied(state))
    return history


def assert_equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def kinds(events: list[Step | Epoch | MilestoneDue]) -> list[tuple[str, int]]:
    return [(type(event).__name__, event.step if isinstance(event, Step) else event.epoch) for event in events]


EPOCH_1 = [("Step", 1), ("Step", 2), ("Epoch", 1)]
EPOCH_2 = [("Step", 3), ("Step", 4), ("Epoch", 2)]
EPOCH_3 = [("Step", 5), ("Step", 6), ("Epoch", 3)]


def test_what_happens_is_told_in_order_and_the_last_epoch_is_a_milestone() -> None:
    events = list(training(fresh()))
    assert kinds(events) == [
        ("MilestoneDue", 0),
        *EPOCH_1,
        *EPOCH_2,
        ("MilestoneDue", 2),
        *EPOCH_3,
        ("MilestoneDue", 3),
    ]
    steps = [event for event in events if isinstance(event, Step)]
    assert [step.epoch for step in steps] == [1, 1, 2, 2, 3, 3]
    assert [step.lr for step in steps] == [Schedule("one-cycle", 0.1, STEPS).at(k).lr for k in range(STEPS)]
    assert all(math.isfinite(step.losses["loss"]) and step.images_per_second > 0 for step in steps)


@pytest.mark.parametrize(("every", "milestones"), [(1, [0, 1, 2, 3]), (2, [0, 2, 3]), (3, [0, 3]), (100, [0, 3])])
def test_milestones_are_the_start_every_so_many_epochs_and_the_end(every: int, milestones: list[int]) -> None:
    events = training(fresh(), milestone_every=every)
    assert [event.epoch for event in events if isinstance(event, MilestoneDue)] == milestones


def test_a_milestone_that_was_due_when_the_training_stopped_is_told_again() -> None:
    for step, expected in [
        (0, [("MilestoneDue", 0), *EPOCH_1]),
        (1, [*EPOCH_1[1:], *EPOCH_2, ("MilestoneDue", 2)]),
        (2, [*EPOCH_2, ("MilestoneDue", 2)]),
        (4, [("MilestoneDue", 2), *EPOCH_3, ("MilestoneDue", 3)]),
        (6, [("MilestoneDue", 3)]),
    ]:
        state = fresh()
        state.step = step
        events = list(itertools.islice(training(state), len(expected)))
        assert kinds(events) == expected
    assert list(training(state)) == [MilestoneDue(3)]


def test_the_state_of_an_event_is_the_one_it_tells_of() -> None:
    state = fresh()
    weight = next(state.method.parameters())
    before = weight.clone()
    for event in training(state, schedule=Schedule("constant", 0.1, STEPS)):
        if isinstance(event, Step):
            assert event.step == state.step
            assert not torch.equal(weight, before)
        else:
            assert torch.equal(weight, before)
        before = weight.clone()


def test_the_method_trains_on_in_training_mode_whatever_a_milestone_did_to_it() -> None:
    state = fresh()
    for event in training(state, milestone_every=1):
        if isinstance(event, MilestoneDue):
            state.method.eval()
        elif isinstance(event, Step):
            assert all(module.training for module in state.method.modules())


@pytest.mark.parametrize(("method", "dropout"), [("simclr", 0.0), ("moco-v2", 0.0), ("moco-v2", 0.3)])
def test_a_training_resumed_after_any_step_ends_as_one_that_was_not_interrupted(
    method: str, dropout: float, tmp_path: Path
) -> None:
    whole = follow(fresh(method, dropout))
    assert len(whole.losses) == STEPS
    for step in range(STEPS + 1):
        save_checkpoint(tmp_path, step, whole.states[step], {})
        checkpoint = load_checkpoint(tmp_path)
        assert checkpoint is not None
        state = fresh(method, dropout)
        torch.manual_seed(step)  # the global random state of another process
        state.restore(checkpoint.step, checkpoint.tensors)
        resumed = follow(state)
        assert resumed.losses == whole.losses[step:]
        for ours, theirs in zip(resumed.states, whole.states[step:], strict=True):
            assert_equal(ours, theirs)


def test_reading_ahead_changes_no_bit() -> None:
    here, ahead = follow(fresh()), follow(fresh(), workers=2)
    assert here.losses == ahead.losses
    assert_equal(here.states[-1], ahead.states[-1])


def grouped(losses: dict[int, float], batch_of: BatchOf) -> Iterator[Event]:
    """On a device that computes ahead of the program, steps that cost nothing and give these losses."""

    def step(state: State, *arguments: object) -> StepResult:
        state.step += 1
        return StepResult({"loss": torch.tensor(losses.get(state.step, 1.0))})

    ahead = Machine(torch.device("meta"), "float32")
    course = plan(steps_per_epoch=20, schedule=Schedule("constant", 0.25, 60))
    return train(fresh(), batch_of, course, ahead, step)


def nothing(step: int, difficulty: torch.Tensor | None) -> Batch | None:
    return Batch((), torch.zeros(0), ())


def test_on_a_device_that_computes_ahead_steps_are_told_together_and_before_what_follows_them() -> None:
    told = [len(event.steps) if isinstance(event, Steps) else event for event in grouped({}, nothing)]
    epoch = [16, 4]
    assert told == [
        MilestoneDue(0),
        *[1, 16, 3, Epoch(1)],  # how long a step takes is known after the first
        *[*epoch, Epoch(2), MilestoneDue(2)],
        *[*epoch, Epoch(3), MilestoneDue(3)],
    ]
    steps = [step for event in grouped({}, nothing) if isinstance(event, Steps) for step in event.steps]
    assert [step.step for step in steps] == list(range(1, 61))
    assert [step.epoch for step in steps] == [1] * 20 + [2] * 20 + [3] * 20


def test_steps_that_wait_are_told_where_no_batch_comes_and_none_where_one_is_not_finite() -> None:
    stopped = [*grouped({}, lambda step, _: nothing(step, None) if step < 19 else None)]
    assert [len(event.steps) for event in stopped if isinstance(event, Steps)] == [1, 16, 2]
    told: list[Event] = []
    with pytest.raises(UserError, match="became nan at step 18"):
        told.extend(grouped({18: math.nan}, nothing))
    happening = grouped({18: math.nan}, nothing)
    assert [type(next(happening)) for _ in range(3)] == [MilestoneDue, Steps, Steps]
    with pytest.raises(UserError, match="became nan at step 18"):
        next(happening)  # no Epoch comes, at which a checkpoint would be saved


def test_a_checkpoint_of_an_earlier_build_is_read() -> None:
    """It numbered parameters, called the optimiser sgd, and a key encoder by another name."""
    whole = follow(fresh("moco-v2"))
    numbers = {name: str(place) for place, name in enumerate(fresh("moco-v2").optimisers["main"].parameters)}

    def then(name: str) -> str:
        if name.startswith("main."):
            parameter, _, key = name.removeprefix("main.").rpartition(".")
            return f"sgd.{numbers[parameter]}.{key}"
        return name.replace("method.key.encoder.", "method.key_encoder.").replace("method.key.p", "method.key_p")

    earlier = {then(name): tensor for name, tensor in whole.states[3].items()}
    assert {"method.key_encoder.early.0.weight", "method.key_projector.layers.0.weight", "sgd.0.momentum_buffer"} <= {
        *earlier
    }
    state = fresh("moco-v2")
    state.restore(3, earlier)
    resumed = follow(state)
    assert resumed.losses == whole.losses[3:]
    assert_equal(resumed.states[-1], whole.states[-1])


def test_the_seed_decides_the_course() -> None:
    first, again, other = follow(fresh()), follow(fresh()), follow(fresh(), seed=2)
    assert first.losses == again.losses
    assert not set(first.losses) & set(other.losses)


def test_dropout_differs_from_step_to_step() -> None:
    state, seen = fresh(dropout=0.5), []
    dropout = next(module for module in state.method.modules() if isinstance(module, torch.nn.Dropout))
    dropout.register_forward_pre_hook(lambda module, given: (torch.ones_like(given[0]),))
    dropout.register_forward_hook(lambda module, given, out: seen.append(tuple(out.flatten().tolist())))
    list(training(state))
    assert len(seen) == len(set(seen)) == STEPS


def test_the_restored_momentum_lies_in_memory_as_its_parameter_does() -> None:
    state = fresh()
    tensors = follow(state).states[-1]
    other = fresh()
    other.restore(STEPS, {name: tensor.contiguous() for name, tensor in tensors.items()})
    for parameter in other.optimisers["main"].parameters.values():
        assert other.optimisers["main"].of.state[parameter]["momentum_buffer"].stride() == parameter.stride()


def test_a_loss_that_is_not_finite_stops_the_training_before_anything_is_told_of_the_step() -> None:
    state = fresh()
    happening = training(state, schedule=Schedule("constant", 0.25, STEPS))
    while not isinstance(next(happening), Epoch):
        pass
    with torch.no_grad():
        state.method.encoder.late[0].weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(UserError) as stopped:
        next(happening)
    assert "the loss became nan at step 3 (learning rate 0.25)" in str(stopped.value)
    assert "Try a lower --lr" in str(stopped.value)


def test_losses_that_are_fetched_together_are_those_of_the_steps_and_the_first_that_is_not_finite_is_named() -> None:
    steps = [Taken(k, 0.5, StepResult({"loss": torch.tensor(k / 4), "other": torch.tensor(-k)})) for k in (3, 4, 5)]
    assert fetched(steps) == [{"loss": k / 4, "other": -k} for k in (3, 4, 5)]
    for place in (1, 2):
        steps[place].result.losses["other"] = torch.tensor(float("inf"))
    with pytest.raises(UserError, match=r"the loss other became inf at step 4 \(learning rate 0.5\)"):
        fetched(steps)


def test_a_learning_rate_that_is_far_too_high_is_told() -> None:
    with pytest.raises(UserError, match=r"the loss became (nan|inf) at step \d \(learning rate 1e\+30\)"):
        list(training(fresh(), schedule=Schedule("constant", 1e30, STEPS)))


def test_in_bf16_a_training_still_learns_in_float32() -> None:
    state = fresh()
    losses = [
        event.losses["loss"]
        for event in training(state, machine=Machine(torch.device("cpu"), "bf16"))
        if isinstance(event, Step)
    ]
    assert all(parameter.dtype == torch.float32 for parameter in state.method.parameters())
    # Products of 8 bits of mantissa give another loss, though not a very different one.
    exact = follow(fresh()).losses
    assert losses[0] != exact[0]
    assert losses[0] == pytest.approx(exact[0], rel=0.1)


def test_training_lowers_the_loss_on_images_that_are_easily_told_apart() -> None:
    colours = np.zeros((8, 3, 8, 8), np.uint8)
    for i in range(8):
        colours[i] = np.array([255 * (i & 1), 255 * (i >> 1 & 1), 255 * (i >> 2 & 1)], np.uint8)[:, None, None]
    views = (CropGroup(2, Augmentation(8, jitter_p=0, gray_p=0)),)
    happening = training(
        fresh(),
        ArrayImages(colours),
        views,
        epochs=30,
        steps_per_epoch=1,
        batch_size=8,
        schedule=Schedule("constant", 0.1, 30),
    )
    losses = [event.losses["loss"] for event in happening if isinstance(event, Step)]
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.15
