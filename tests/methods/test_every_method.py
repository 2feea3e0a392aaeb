"""What every method does: its loss, where gradients go, steps, resuming, no collapse, and a step of UMM."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sslmlflow.config.methods import METHODS
from sslmlflow.data.augmentation import Augmentation, CropGroup
from sslmlflow.data.preprocess import Preprocessing
from sslmlflow.data.source import ArrayImages
from sslmlflow.methods import FINISHED, Method, Progress, build_method
from sslmlflow.methods.heads import Head
from sslmlflow.runs.views import ViewBatches
from sslmlflow.training.checkpoint import load_checkpoint, save_checkpoint
from sslmlflow.training.device import Machine
from sslmlflow.training.loop import Plan, Steps, train
from sslmlflow.training.optimisers import Optimising
from sslmlflow.training.schedules import Rates, Schedule
from sslmlflow.training.state import State
from sslmlflow.training.step import descend, ssl_step, start_state
from sslmlflow.umm.objective import Weights
from sslmlflow.umm.step import Umm
from tests.encoders.tiny import tiny_encoder
from tests.methods.narrow import OPTIONS, narrow, some_batch
from tests.methods.references import REFERENCES

CPU = Machine(torch.device("cpu"), "float32")
START, LATER = Progress(0.0, 0.0), Progress(0.5, 1.5)
every = pytest.mark.parametrize("name", METHODS)


@every
@pytest.mark.parametrize("progress", [START, LATER], ids=["start", "later"])
def test_the_loss_is_that_of_the_equation(name: str, progress: Progress) -> None:
    method = narrow(name)
    if "queued" in dict(method.named_buffers()) and progress is LATER:  # SwAV's queue, full
        method.get_buffer("queued").fill_(method.get_buffer("queue").shape[1])
    out = {key: tensor.detach() for key, tensor in method.project(some_batch(name)).items()}
    assert {len(tensor) for tensor in out.values()} == {6}
    found = method.loss(out, progress)["loss"].item()
    assert found == pytest.approx(REFERENCES[name](out, method, progress), rel=1e-5, abs=1e-6)
    rows = {key: tensor[:4] for key, tensor in out.items()}
    assert np.isfinite(method.held_out_loss(rows).item())


def parameters_with_gradients(method: Method, name: str, progress: Progress) -> set[str]:
    method.before_step(progress)
    method.loss(method.project(some_batch(name)), progress)["loss"].backward()
    return {key for key, p in method.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}


def idle_biases(method: Method) -> set[str]:
    """Before a BatchNorm, or last in a head where only differences of projections count, a bias changes no loss."""
    heads = {key: head for key, head in method.named_modules() if isinstance(head, Head)}
    last = {f"{key}.layers.{len(head.layers) - 1}.bias" for key, head in heads.items()}
    return {"encoder.early.0.bias", "encoder.late.0.bias", *last}


FROZEN = {"swav": {"prototypes.weight"}, "dino": {"head.prototypes.weight"}}


@every
def test_gradients_reach_exactly_what_is_trained(name: str) -> None:
    trained = {key for key, p in narrow(name).named_parameters() if not key.startswith(("teacher.", "key."))}
    found = parameters_with_gradients(narrow(name), name, LATER)
    assert trained - found <= idle_biases(narrow(name))
    assert found <= trained
    assert parameters_with_gradients(narrow(name), name, START) == found - FROZEN.get(name, set())


@every
def test_half_precision_gives_nearly_the_same_loss(name: str) -> None:
    batch = some_batch(name)
    exact = narrow(name).loss(narrow(name).project(batch), LATER)["loss"].item()
    method = narrow(name)
    with Machine(torch.device("cpu"), "bf16").autocast():
        out = method.project(batch)
    loss = method.loss(out, LATER)["loss"]
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact, rel=0.05, abs=0.01)


COLOURS = np.random.default_rng(0).integers(0, 256, (12, 3, 1, 1), np.uint8).repeat(8, 2).repeat(8, 3)
IMAGES = ArrayImages(
    np.clip(COLOURS + np.random.default_rng(1).integers(0, 40, (12, 3, 8, 8)), 0, 255).astype(np.uint8)
)


def batches(name: str, epochs: int) -> tuple[ViewBatches, Plan]:
    """Of 12 images in two batches an epoch, with small views for a method that takes them."""
    views = [CropGroup(2, Augmentation(8, scale=(0.4, 1.0), jitter_p=0, gray_p=0, solarise_p=0.1))]
    if type(narrow(name)).recipe.multi_crop:
        views.append(CropGroup(2, Augmentation(4, scale=(0.2, 0.4), jitter_p=0)))
    schedule = Schedule("warmup-cosine", 0.05, 2 * epochs, warmup_steps=1, weight_decay=1e-4, weight_decay_end=1e-3)
    plan = Plan(epochs, 2, 6, 100, seed=1, schedule=schedule)
    preprocessing = Preprocessing(8, 3, (0.5, 0.5, 0.5), (0.3, 0.3, 0.3))
    return ViewBatches(IMAGES, tuple(views), preprocessing, 6, 1, plan.total_steps, CPU.device), plan


def started(name: str, dropout: float = 0.0) -> State:
    recipe = type(narrow(name)).recipe
    return start_state(narrow(name, dropout), Optimising.of(recipe, recipe.optimiser, clip=5.0))


def followed(name: str, state: State) -> list[dict[str, Tensor]]:
    """Copies of the state after every step."""
    stream, plan = batches(name, epochs=3)
    return [
        {key: tensor.clone() for key, tensor in state.tensors().items()}
        for event in train(state, stream, plan, CPU)
        if isinstance(event, Steps)
    ]


@every
def test_a_training_resumed_after_any_step_ends_as_one_that_was_not_interrupted(name: str, tmp_path: Path) -> None:
    whole = followed(name, started(name, dropout=0.2))
    for step in range(1, len(whole)):
        save_checkpoint(tmp_path, step, whole[step - 1], {})
        checkpoint = load_checkpoint(tmp_path)
        assert checkpoint is not None
        state = started(name, dropout=0.2)
        torch.manual_seed(step)  # the global random state of another process
        state.restore(checkpoint.step, checkpoint.tensors)
        for ours, theirs in zip(followed(name, state), whole[step:], strict=True):
            assert ours.keys() == theirs.keys()
            assert [key for key in ours if not torch.equal(ours[key], theirs[key])] == []


@every
def test_thirty_steps_lower_the_loss(name: str) -> None:
    """Towards targets that stay, where a teacher or a queue gives them: they would move the loss themselves."""
    state = start_state(narrow(name), Optimising("adamw"))
    batch, losses = some_batch(name, n=12), []
    for number in range(30):
        torch.manual_seed(number)
        state.optimisers["main"].set_rates(Rates(0.01))
        losses.append(descend(state, ("main",), batch, LATER, CPU)[0]["loss"].item())
    assert losses[-1] < losses[0] - 0.01


def spread_after_training(name: str, more: str = "") -> float:
    """How far apart the projections of images are, as directions, after 200 steps: from 0, all alike, to 1."""
    method = build_method(name, OPTIONS[name] + more, tiny_encoder(), seed=0)
    state = start_state(method.train(), Optimising("adamw"))
    for number in range(200):
        torch.manual_seed(number)
        progress = Progress(number / 200, 1.5 + number / 10)
        ssl_step(state, some_batch(name, n=12, seed=number % 4), progress, Rates(0.01), CPU)
    with torch.no_grad():
        found = method.eval().encoder(some_batch(name, n=12).crops[0][0])
        for head in method.heads:
            found = method.get_submodule(head)(found)
    return torch.nn.functional.normalize(found, dim=1).var(dim=0, correction=0).sum().sqrt().item()


# DINO's outputs become even at this size, as they did on 5,000 images (docs/results/methods).
@pytest.mark.parametrize("name", [name for name in METHODS if name != "dino"])
def test_a_training_does_not_collapse(name: str) -> None:
    assert spread_after_training(name, ",sinkhorn_eps=0.01" if name == "swav" else "") > 0.25


@pytest.mark.parametrize("name", ["vicreg", "vicregl"])
def test_views_that_only_have_to_agree_do_collapse(name: str) -> None:
    assert spread_after_training(name, ",variance=0,covariance=0") < 0.15


@every
def test_a_step_of_umm_tunes_the_late_part_and_the_heads(name: str) -> None:
    method = narrow(name)
    for _ in range(2):
        method.project(some_batch(name))
    with torch.no_grad():
        method.encoder.early[0].weight.add_(0.1)  # a student that is ahead of its teacher
    measured = {key: tensor.clone() for key, tensor in method.measured.state_dict().items()}
    method.begin_tuning()
    assert all(torch.equal(tensor, measured[key]) for key, tensor in method.measured.state_dict().items())
    how = Umm(Weights(0.5, 2.0, directions=4, js_images=8), lr=0.01, inner_lr=0.05)
    before = {key: tensor.clone() for key, tensor in method.state_dict().items()}
    state = how.start(method, Optimising())
    result = how.step(state, some_batch(name, seed=4), LATER, Rates(0.0), CPU)
    moved = {key for key, tensor in method.state_dict().items() if not torch.equal(tensor, before[key])}
    assert not {key for key in moved if key.startswith("encoder.early.")}
    assert {"encoder.late.0.weight", "encoder.late.1.running_mean"} <= moved
    now = {key for key, tensor in method.measured.state_dict().items() if not torch.equal(tensor, measured[key])}
    assert {"late.0.weight"} <= now
    assert not {key for key in now if key.startswith("early.")}
    assert all(torch.isfinite(loss) for loss in result.losses.values())


def test_a_finished_training_is_at_the_end_of_all_courses() -> None:
    assert narrow("dino").teacher_temperature(FINISHED) == 0.07
    assert narrow("byol").teacher.share(FINISHED) == 1.0
