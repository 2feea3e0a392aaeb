"""Methods that are still to come, as skeletons: each asks the interface for something that none of today's does."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sslmlflow.config.methods import METHODS, MethodDeclaration
from sslmlflow.config.options import option
from sslmlflow.config.pretrain import Pretrain
from sslmlflow.data.augmentation import Views
from sslmlflow.encoders import Encoder, EncoderSpec
from sslmlflow.errors import ConfigError
from sslmlflow.methods import Batch, Method, Progress, Recipe, build_method
from sslmlflow.methods.simclr import nt_xent
from sslmlflow.runs.pretraining import prepare
from sslmlflow.training.device import Machine
from sslmlflow.training.loop import Plan, Steps, train
from sslmlflow.training.optimisers import Optimising
from sslmlflow.training.schedules import Rates, Schedule
from sslmlflow.training.state import State
from sslmlflow.training.step import start_state
from tests.encoders.tiny import tiny_encoder
from tests.methods.batch import batch_of

CPU = Machine(torch.device("cpu"), "float32")
IMAGES, PER_EPOCH, EPOCHS = 12, 2, 3


class Plain(Method):
    """Two views agree: what the skeletons have in common."""

    heads = ("projector",)

    def __init__(self, encoder: Encoder, **options: Any) -> None:
        super().__init__(encoder)
        self.projector = nn.Linear(encoder.embedding_width, 4)

    def project(self, batch: Batch) -> dict[str, Tensor]:
        first, second = self.projector(self.encoder(batch.crops[0].flatten(0, 1))).chunk(2)
        return {"first": first, "second": second, "indices": batch.indices}

    def loss(self, out: dict[str, Tensor], progress: Progress) -> dict[str, Tensor]:
        return {"loss": nt_xent(out["first"], out["second"], 0.5)}


class Contrasted(Plain):
    """BCL: views are as strong as an image is hard, by a moving average of its loss that is renewed every epoch."""

    def __init__(self, encoder: Encoder, **options: Any) -> None:
        super().__init__(encoder)
        self.register_buffer("average", torch.ones(IMAGES))
        self.register_buffer("frozen", torch.ones(IMAGES))

    @property
    def difficulty(self) -> Tensor:
        return self.get_buffer("frozen")

    @torch.no_grad()
    def after_step(self, out: dict[str, Tensor], progress: Progress) -> None:
        distance = (out["first"] - out["second"]).square().sum(1)
        average = self.get_buffer("average")
        average[out["indices"]] = average[out["indices"]].lerp(distance, 0.3)
        if round(progress.epoch * PER_EPOCH + 1) % PER_EPOCH == 0:
            self.get_buffer("frozen").copy_(average)


class Kernel(Plain):
    """SSL-HSIC: the scale of a kernel is learnt by an optimiser of its own, which raises what the other lowers."""

    def __init__(self, encoder: Encoder, **options: Any) -> None:
        super().__init__(encoder)
        self.scale = nn.Parameter(torch.tensor([1.0]))

    def loss(self, out: dict[str, Tensor], progress: Progress) -> dict[str, Tensor]:
        near = torch.exp(-self.scale.square() * (out["first"] - out["second"]).square().sum(1)).mean()
        return {"loss": nt_xent(out["first"], out["second"], 0.5) - near, "kernel": near}

    def parameter_groups(self) -> dict[str, dict[str, nn.Parameter]]:
        every = {name: p for name, p in self.named_parameters() if p.requires_grad}
        return {"main": {name: p for name, p in every.items() if name != "scale"}, "kernel": {"scale": self.scale}}


class Whitened(Plain):
    """W-MSE: whitens parts of a batch, which it must fill."""

    @classmethod
    def check(cls, options: "WhitenedOptions", encoder: EncoderSpec, views: Views, batch_size: int) -> None:
        if batch_size % options.part:
            raise ConfigError(f"invalid value for batch_size: {batch_size} (must be a multiple of {options.part})")


@dataclass(frozen=True)
class WhitenedOptions:
    """W-MSE."""

    part: int = option(4, "images that are whitened together", minimum=2)


class Labelled(Plain):
    """Self-labelling after half of the training, against what the encoder was sure of then."""

    def loss(self, out: dict[str, Tensor], progress: Progress) -> dict[str, Tensor]:
        if progress.done < 0.5:
            return super().loss(out, progress)
        label = out["first"].detach().argmax(1)
        return {"loss": nn.functional.cross_entropy(out["second"], label)}


@dataclass(frozen=True)
class Multistep(Schedule):
    """A fifth of the learning rate at two times, and anew in a second stage."""

    def at(self, step: int) -> Rates:
        return Rates(self.lr * 0.2 ** sum(step % 4 >= milestone for milestone in (2, 3)))


PLAN = Plan(EPOCHS, PER_EPOCH, IMAGES // PER_EPOCH, 100, 1, Multistep("constant", 0.05, EPOCHS * PER_EPOCH))


def batch(step: int, difficulty: Tensor | None, channels: int = 3) -> Batch:
    """A function of the step, and of how hard an image is: the harder, the more its views differ."""
    generator = torch.Generator().manual_seed(step)
    indices = torch.arange(IMAGES).roll(step)[: IMAGES // PER_EPOCH]
    images = torch.rand(IMAGES, channels, 8, 8, generator=torch.Generator().manual_seed(99))[indices]
    noise = torch.randn(2, *images.shape, generator=generator)
    strength = 1.0 if difficulty is None else difficulty[indices].view(-1, 1, 1, 1)
    return batch_of(images + 0.3 * strength * noise)._replace(indices=indices)


def fresh(kind: type[Plain]) -> State:
    torch.manual_seed(0)
    return start_state(kind(tiny_encoder()), Optimising("adamw"))


def followed(state: State) -> list[dict[str, Tensor]]:
    events = train(state, batch, PLAN, CPU)
    return [
        {name: tensor.clone() for name, tensor in state.tensors().items()}
        for event in events
        if isinstance(event, Steps)
    ]


@pytest.mark.parametrize("kind", [Contrasted, Kernel, Whitened, Labelled])
def test_each_trains_and_resumes_to_the_bit(kind: type[Plain]) -> None:
    whole = followed(fresh(kind))
    assert len(whole) == EPOCHS * PER_EPOCH
    for step in range(1, len(whole)):
        state = fresh(kind)
        state.restore(step, whole[step - 1])
        for ours, theirs in zip(followed(state), whole[step:], strict=True):
            assert ours.keys() == theirs.keys()
            assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def test_difficulty_is_frozen_within_an_epoch_and_decides_the_views() -> None:
    states = [state["method.frozen"] for state in followed(fresh(Contrasted))]
    assert torch.equal(states[0], torch.ones(IMAGES))
    assert torch.equal(states[1], states[2])
    assert not torch.equal(states[2], states[3])
    assert not torch.equal(batch(4, states[3]).crops[0], batch(4, None).crops[0])


def test_the_second_optimiser_goes_down_its_own_loss() -> None:
    state = fresh(Kernel)
    scale = state.method.get_parameter("scale")
    before = scale.item()
    out = state.method.project(batch(0, None))
    losses = state.method.loss(out, PLAN.progress(0))
    (slope,) = torch.autograd.grad(losses["kernel"], scale)
    next(event for event in train(state, batch, PLAN, CPU) if isinstance(event, Steps))
    assert (scale.item() - before) * slope.item() < 0
    assert set(state.optimisers["kernel"].parameters) == {"scale"}
    assert "scale" not in state.optimisers["main"].parameters


def test_rates_fall_where_the_schedule_says_and_start_anew_in_the_second_stage() -> None:
    taken = [
        step for event in train(fresh(Labelled), batch, PLAN, CPU) if isinstance(event, Steps) for step in event.steps
    ]
    assert [step.lr for step in taken] == pytest.approx([0.05, 0.05, 0.01, 0.002, 0.05, 0.05])
    for event, (step, whole) in zip(followed(fresh(Labelled)), enumerate(followed(fresh(Plain))), strict=True):
        same = all(torch.equal(event[name], whole[name]) for name in event)
        assert same == (step < EPOCHS * PER_EPOCH / 2)


def test_a_method_refuses_a_batch_that_it_cannot_use_before_training(
    labels_refused: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METHODS, "w-mse", MethodDeclaration(f"{__name__}.Whitened", WhitenedOptions))
    monkeypatch.setattr(Whitened, "recipe", Recipe(10, 0.1, 0.0), raising=False)
    given = {"image_size": 16, "max_train_images": 96, "max_test_images": 60, "width": 4, "epochs": 1}
    with pytest.raises(ConfigError, match=r"batch_size: 12 \(must be a multiple of 8\)"):
        prepare(Pretrain(method="w-mse", batch_size=12, method_options="part=8", **given))
    assert prepare(Pretrain(method="w-mse", batch_size=16, method_options="part=8", **given)).plan.batch_size == 16


def test_images_may_have_any_number_of_channels() -> None:
    torch.manual_seed(0)
    early = nn.Sequential(nn.Conv2d(5, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU())
    encoder = Encoder(early, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), 8, channels=5)
    method = build_method("byol", "hidden_width=8,projection_width=4", encoder, seed=0)
    state = start_state(method, Optimising("adamw"))
    steps = [
        event for event in train(state, lambda step, _: batch(step, None, 5), PLAN, CPU) if isinstance(event, Steps)
    ]
    assert len(steps) == EPOCHS * PER_EPOCH
