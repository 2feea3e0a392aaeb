"""A step of UMM: what moves and what stays, what the weights do, and its gradient against finite differences."""

import copy
from collections.abc import Callable
from dataclasses import replace
from math import log, sqrt

import pytest
import torch
from torch import Tensor, nn

from sslmlflow.encoders import Encoder
from sslmlflow.errors import UserError
from sslmlflow.methods import Batch, Method, Progress, build_method
from sslmlflow.metrics.unlabelled.coding_rate import coding_rate_reduction_pairs, unit_rows
from sslmlflow.training.checkpoint import load_checkpoint, save_checkpoint
from sslmlflow.training.device import Machine
from sslmlflow.training.loop import Steps, train
from sslmlflow.training.optimisers import Optimising
from sslmlflow.training.schedules import Rates, Schedule
from sslmlflow.training.state import State
from sslmlflow.training.step import StepResult
from sslmlflow.umm.fixed_early import fixed_early, tuned_parameters
from sslmlflow.umm.objective import Objectives, Weights
from sslmlflow.umm.step import Umm
from tests.encoders.tiny import tiny_encoder
from tests.methods.batch import MIDWAY, batch_of
from tests.training.test_loop import batches, plan

CPU = Machine(torch.device("cpu"), "float32")
METHODS = {
    "simclr": "hidden_width=8,projection_width=4",
    "simsiam": "projection_width=8,bottleneck_width=4",
    "moco-v2": "hidden_width=8,projection_width=4,queue_size=40",
}
VIEWS = torch.rand(2, 12, 3, 8, 8, generator=torch.Generator().manual_seed(3))
BATCH = batch_of(VIEWS)
RATES = Rates(0.01)
HYPERGRADIENTS = ["unroll", "first_order", "finite_diff", "aid_neumann", "aid_cg"]


def trained(name: str = "simclr", dropout: float = 0.0) -> Method:
    """A method whose BatchNorm has seen something."""
    method = build_method(name, METHODS[name], tiny_encoder(dropout=dropout), seed=0)
    for _ in range(3):
        method.project(BATCH)
    return method.train()


def umm(alpha: float = 0.5, beta: float = 2.0, **changes: object) -> Umm:
    return Umm(Weights(alpha, beta, directions=4, js_images=12), **{"lr": 0.01, "inner_lr": 0.05, **changes})


def stepped(method: Method, how: Umm, steps: int = 1) -> tuple[State, list[StepResult]]:
    state = how.start(method, Optimising())
    taken = []
    for number in range(steps):
        torch.manual_seed(number)
        taken.append(how.step(state, BATCH, MIDWAY, RATES, CPU))
    return state, taken


def copied(method: Method) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in method.state_dict().items()}


def changed(before: dict[str, Tensor], method: Method) -> set[str]:
    return {name for name, tensor in method.state_dict().items() if not torch.equal(tensor, before[name])}


@pytest.mark.parametrize("hypergradient", HYPERGRADIENTS)
@pytest.mark.parametrize("name", METHODS)
def test_the_early_part_stays_bit_equal_and_the_late_part_and_heads_move(name: str, hypergradient: str) -> None:
    method = trained(name)
    before = copied(method)
    stepped(method, umm(hypergradient=hypergradient), steps=2)
    moved = changed(before, method)
    assert not {name for name in moved if name.startswith("encoder.early.")}
    assert {name for name, _ in method.encoder.late.named_parameters(prefix="encoder.late")} <= moved
    assert {"encoder.late.1.running_mean", "encoder.late.1.running_var"} <= moved
    assert {name for name, _ in method.projector.named_parameters(prefix="projector") if "weight" in name} <= moved
    assert all(module.training for module in method.modules())


def test_frozen_batch_norm_is_in_eval_mode_during_the_step() -> None:
    method = trained()
    seen = []
    method.encoder.early[1].register_forward_hook(lambda module, given, out: seen.append(module.training))
    stepped(method, umm())
    assert seen == [False]  # and what it made of the images was computed once


@pytest.mark.parametrize("name", METHODS)
def test_what_is_looked_up_of_the_early_part_is_what_it_computes(name: str) -> None:
    method = trained(name)
    other = trained(name)
    for module in other.modules():
        if isinstance(module, Encoder):
            module.early.eval()
    expected = other.project(BATCH)
    with fixed_early(method, BATCH, CPU) as (maps,):
        found = method.project(BATCH)
        assert torch.equal(method.encoder.early(VIEWS[1, 3:5]), maps[15:17])
        torch.testing.assert_close(method.encoder.early(VIEWS[1, 3:5] + 0), maps[15:17])  # other memory: computed
        torch.testing.assert_close(method.encoder.early(VIEWS[0, ::2]), maps[0:12:2])
        torch.testing.assert_close(method.encoder.early(VIEWS[:, 4]), maps[[4, 16]])
    for key, tensor in expected.items():
        torch.testing.assert_close(found[key], tensor)
    assert method.encoder.early(VIEWS[0]).requires_grad  # it computes again


def test_moco_keeps_its_queue_and_key_encoder_going() -> None:
    method = trained("moco-v2")
    before = copied(method)
    stepped(method, umm(), steps=2)
    assert int(method.queue_position - before["queue_position"]) == 24
    moved = changed(before, method)
    assert "key.encoder.late.0.weight" in moved
    assert "key.encoder.early.1.running_mean" not in moved


def parameters_after(how: Umm, name: str = "simclr") -> Tensor:
    method = trained(name)
    stepped(method, how)
    return nn.utils.parameters_to_vector(p.detach() for p in tuned_parameters(method).values())


@pytest.mark.parametrize("hypergradient", HYPERGRADIENTS)
def test_beta_and_alpha_change_the_step(hypergradient: str) -> None:
    plain = parameters_after(umm(0.0, 0.0, hypergradient=hypergradient))
    for alpha, beta in [(0.0, 2.0), (0.5, 0.0)]:
        with_it = parameters_after(umm(alpha, beta, hypergradient=hypergradient))
        assert not torch.equal(plain, with_it)


def reduction(method: Method) -> float:
    """Of the late embeddings of the batch, as the step sees them: the early part in eval mode, the late one not."""
    with fixed_early(method, BATCH, CPU) as (maps,), torch.no_grad():
        late = method.encoder.late(maps)
    return float(coding_rate_reduction_pairs(unit_rows(late.unflatten(0, (2, 12)))).dR)


@pytest.mark.parametrize("variant", ["umm", "simultaneous"])
@pytest.mark.parametrize("name", METHODS)
def test_alpha_raises_the_coding_rate_reduction_on_the_batch_of_the_step(name: str, variant: str) -> None:
    after = {}
    for alpha in (0.0, 5.0):
        method = trained(name)
        before = reduction(method)
        stepped(method, umm(alpha, 0.0, variant=variant, lr=1e-3))
        after[alpha] = reduction(method)
    assert after[5.0] > before
    assert after[5.0] > after[0.0]


def test_the_reduction_is_of_the_late_embeddings_of_each_image_at_any_scale() -> None:
    # Late embeddings given by hand: two images, whose views agree, on two axes. R = 1/2 logdet(I + d/(m eps^2) Z^T Z).
    on_batch, phi, method = in_double(Weights(1.0, 0.0, eps=0.5))
    on_batch.batch = batch_of(VIEWS[:, :2].double())
    d = 12
    rows = torch.zeros(4, d, dtype=torch.float64)
    rows[0, 0] = rows[2, 0] = 7.0  # rows are view by view: image 0 of either view on the first axis
    rows[1, 1] = rows[3, 1] = 0.1
    method.encoder.late.forward = lambda maps: rows  # type: ignore[method-assign]
    whole = 2 * 0.5 * log(1 + d / (4 * 0.25) * 2)
    each = 0.5 * log(1 + d / (2 * 0.25) * 2)
    assert on_batch.reduction(phi).item() == pytest.approx(whole - each)


def test_the_divergence_is_of_the_first_images_in_both_views_with_the_kappa_of_the_width() -> None:
    on_batch, phi, method = in_double(Weights(0.0, 1.0, density="exact", js_images=6))
    late = method.encoder.late.eval()
    z = torch.cat([on_batch.maps[:3], on_batch.maps[12:15]])
    jacobians = torch.stack([torch.func.jacrev(lambda x: late(x[None])[0])(one).flatten(1) for one in z])
    floor = 0.01 * jacobians.square().sum((1, 2)).mean() / 12
    volumes = torch.linalg.slogdet(jacobians @ jacobians.mT + floor * torch.eye(12, dtype=torch.float64)).logabsdet / 2
    late.train()
    p = torch.softmax(-volumes / sqrt(12), dim=0)
    middle = (p + 1 / 6) / 2
    expected = ((p * (p / middle).log()).sum() + (1 / 6 * (1 / 6 / middle).log()).sum()) / 2
    assert on_batch.divergence(phi).item() == pytest.approx(expected.item(), rel=1e-8)


def test_fewer_directions_are_fewer() -> None:
    found = [in_double(Weights(0.0, 1.0, directions=k, js_images=12)) for k in (1, 12)]
    few, all_of_them = (on_batch.divergence(phi).item() for on_batch, phi, _ in found)
    exact, phi, _ = in_double(Weights(0.0, 1.0, density="exact", js_images=12))
    assert all_of_them == pytest.approx(exact.divergence(phi).item())
    assert few != pytest.approx(all_of_them, rel=1e-3)


def test_parameters_after_a_step_are_those_of_adam_on_the_hypergradient() -> None:
    method, how = trained(), umm(0.0, 0.0, inner_lr=1e-9, lr=0.003)  # without its terms and step: the loss's gradient
    with fixed_early(method, BATCH, CPU):
        own = copy.deepcopy(method)
        own.encoder.early.forward = method.encoder.early.forward  # type: ignore[method-assign]
        own.loss(own.project(BATCH), MIDWAY)["loss"].backward()
    torch.optim.Adam(tuned_parameters(own).values(), lr=0.003).step()
    before = copied(method)
    stepped(method, how)
    compared = 0
    for name, parameter in tuned_parameters(own).items():
        assert parameter.grad is not None
        clear = parameter.grad.abs() > 3e-5  # of the others Adam takes the sign of rounding
        compared += int(clear.sum())
        torch.testing.assert_close(tuned_parameters(method)[name][clear], parameter[clear], rtol=1e-4, atol=1e-6)
        assert ((parameter - before[name])[clear].abs() > 1e-3).all()
    assert compared > 500


def test_all_terms_on_one_level_move_the_parameters() -> None:
    moved = [parameters_after(umm(0.5, beta, variant="simultaneous")) for beta in (0.0, 5.0)]
    assert not torch.equal(*moved)


def test_alternating_queues_the_keys_of_the_methods_own_step() -> None:
    method, own = trained("moco-v2"), trained("moco-v2")
    stepped(method, umm(variant="alternating"))
    keys = own.project(BATCH)["key"]
    torch.testing.assert_close(method.queue[:12], nn.functional.normalize(keys, dim=1))


def test_attention_has_the_second_derivatives_that_a_step_takes() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, tokens: Tensor) -> Tensor:
            attended: Tensor = self.attention(tokens, tokens, tokens, need_weights=False)[0]
            return attended[:, 0]

    method = build_method("simclr", METHODS["simclr"], attending(Attention()), seed=0)
    _, (taken,) = stepped(method.train(), umm())
    assert taken.losses["js"] > 0


def attending(late: nn.Module) -> Encoder:
    early = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.Flatten(2), Transposed())
    return Encoder(early, late, 8)


class Transposed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2)


def test_beta_lowers_the_divergence_of_the_inner_step() -> None:
    divergences = {}
    for beta in (0.0, 2.0):
        on_batch, phi, _ = in_double(Weights(0.0, beta, directions=4, js_images=12, kappa=1.0))
        slopes = torch.autograd.grad(on_batch.inner(phi), phi)
        inside = tuple(p - 0.05 * g for p, g in zip(phi, slopes, strict=True))
        divergences[beta] = on_batch.divergence(inside).item()
    assert divergences[2.0] < divergences[0.0]


class Aligned(Method):
    """The least that a method can be, in float64 throughout, so that finite differences can be taken."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.encoder = tiny_encoder()
        self.projector = nn.Linear(12, 4)

    def project(self, batch: Batch) -> dict[str, Tensor]:
        first, second = self.projector(self.encoder(batch.crops[0].flatten(0, 1))).chunk(2)
        return {"first": first, "second": second}

    def loss(self, out: dict[str, Tensor], progress: Progress) -> dict[str, Tensor]:
        first, second = out["first"], out["second"]
        return {"loss": (first - second).square().mean() - 0.1 * first.std(0).log().mean()}


Objective = Callable[[tuple[Tensor, ...]], Tensor]


def in_double(weights: Weights) -> tuple[Objectives, tuple[Tensor, ...], Method]:
    method = Aligned()
    method.double().train()
    views = VIEWS.double()
    method.project(batch_of(views))
    tuned = tuned_parameters(method)
    with fixed_early(method, batch_of(views), CPU) as (maps,):
        pass
    method.encoder.early.forward = lambda images: maps  # type: ignore[method-assign]
    on_batch = Objectives(method, batch_of(views), maps, list(tuned), weights, CPU, 1, MIDWAY)
    return on_batch, tuple(tuned.values()), method


def slope_along(objective: Objective, phi: tuple[Tensor, ...], direction: list[Tensor], h: float) -> float:
    ends = []
    for side in (1, -1):
        moved = tuple((p.detach() + side * h * d).requires_grad_() for p, d in zip(phi, direction, strict=True))
        ends.append(objective(moved).item())
    return (ends[0] - ends[1]) / (2 * h)


def directions(phi: tuple[Tensor, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(p.shape, generator=generator, dtype=torch.float64) for p in phi]


def test_gradient_of_the_divergence_of_a_network_is_there_and_matches_finite_differences(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sslmlflow.umm.density.FLOOR", 1e-9)  # it has no gradient, but moves in a finite difference
    on_batch, phi, _ = in_double(Weights(0.0, 1.0, directions=2, js_images=12, kappa=1.0))
    slopes = torch.autograd.grad(on_batch.divergence(phi), phi, materialize_grads=True)
    along = directions(phi)
    ours = sum((g * d).sum().item() for g, d in zip(slopes, along, strict=True))
    assert abs(ours) > 1e-5
    assert ours == pytest.approx(slope_along(on_batch.divergence, phi, along, 1e-6), rel=1e-4)


def test_the_unrolled_gradient_of_a_step_matches_finite_differences() -> None:
    how = umm()
    weights = replace(how.weights, density="frob", directions=4, kappa=1.0)
    on_batch, phi, _ = in_double(weights)

    def after_the_inner_step(theta: tuple[Tensor, ...]) -> Tensor:
        slopes = torch.autograd.grad(on_batch.inner(theta), theta, materialize_grads=True)
        return on_batch.outer(tuple(p - how.inner_lr * g for p, g in zip(theta, slopes, strict=True)))

    found = how._gradient(on_batch, phi)
    along = directions(phi)
    ours = sum((g * d).sum().item() for g, d in zip(found.gradient, along, strict=True))
    assert ours == pytest.approx(slope_along(after_the_inner_step, phi, along, 1e-6), rel=1e-4)
    assert found.outer.item() == pytest.approx(after_the_inner_step(phi).item())


def test_all_terms_on_one_level_are_their_sum() -> None:
    on_batch, phi, _ = in_double(Weights(0.5, 2.0, directions=4, js_images=12))
    whole = on_batch.loss(phi) + 2.0 * on_batch.divergence(phi) - 0.5 * on_batch.reduction(phi)
    assert on_batch.both(phi).item() == pytest.approx(whole.item())


def test_dropout_draws_alike_in_every_evaluation() -> None:
    method = trained(dropout=0.4)
    method.encoder.late.insert(3, nn.Dropout(0.4))
    _, (taken,) = stepped(method, umm(0.0, 0.0, inner_lr=1e-12))
    assert taken.losses["loss_after"].item() == pytest.approx(taken.losses["loss"].item(), rel=1e-6)


def test_what_a_step_tells() -> None:
    _, (taken,) = stepped(trained(), umm())
    assert set(taken.losses) == {"loss", "loss_after", "js", "crr", "objective", "hypergradient"}
    less = taken.losses["loss_after"] - 0.5 * taken.losses["crr"]
    assert taken.losses["objective"].item() == pytest.approx(less.item(), rel=1e-5)
    assert taken.note is None
    _, (by_cg,) = stepped(trained(), umm(hypergradient="aid_cg"))
    assert by_cg.losses["left_early"] in (0.0, 1.0)
    assert (by_cg.note is not None) == bool(by_cg.losses["left_early"])


def test_second_derivatives_of_the_loss_alone_are_other_ones() -> None:
    assert not torch.equal(parameters_after(umm(beta=50.0)), parameters_after(umm(beta=50.0, loss_curvature=True)))


def test_continuation_moves_everything_and_needs_no_early_part() -> None:
    method = trained()
    before = copied(method)
    stepped(method, umm(variant="continuation"))
    moved = changed(before, method)
    assert {"encoder.early.0.weight", "encoder.early.1.running_mean", "encoder.late.0.weight"} <= moved


def test_alternating_moves_the_early_part_by_the_methods_own_step_only() -> None:
    method, own = trained("moco-v2"), trained("moco-v2")
    how = umm(variant="alternating")
    state, _ = stepped(method, how)
    assert state.step == 1
    before = copied(own)
    alone = torch.optim.SGD([p for p in own.parameters() if p.requires_grad], lr=0.01, momentum=0.9)
    own.loss(own.project(BATCH), MIDWAY)["loss"].backward()
    alone.step()
    for name, tensor in own.encoder.early.state_dict().items():
        torch.testing.assert_close(method.encoder.early.state_dict()[name], tensor, rtol=0, atol=0)
    assert changed(before, method) >= {"encoder.late.0.weight", "queue"}
    assert not torch.equal(method.encoder.late[0].weight, own.encoder.late[0].weight)
    assert int(method.queue_position) == 12  # the keys of a batch enter once


@pytest.mark.parametrize("variant", ["umm", "alternating"])
def test_a_tuning_resumed_after_any_step_ends_as_one_that_was_not_interrupted(variant: str, tmp_path: object) -> None:
    how = umm(variant=variant)
    usual = plan(schedule=Schedule("one-cycle", 0.01, 6))

    def follow(state: State) -> list[dict[str, Tensor]]:
        return [
            {name: tensor.clone() for name, tensor in state.tensors().items()}
            for event in train(state, batches(usual), usual, CPU, how.step)
            if isinstance(event, Steps)
        ]

    whole = follow(how.start(trained("moco-v2"), Optimising()))
    assert len(whole) == 6
    for step in (1, 3, 5):
        save_checkpoint(tmp_path, step, whole[step - 1], {})  # type: ignore[arg-type]
        checkpoint = load_checkpoint(tmp_path)  # type: ignore[arg-type]
        assert checkpoint is not None
        state = how.start(trained("moco-v2"), Optimising())
        torch.manual_seed(step)
        state.restore(checkpoint.step, checkpoint.tensors)
        for ours, theirs in zip(follow(state), whole[step:], strict=True):
            assert ours.keys() == theirs.keys()
            assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def test_an_encoder_without_a_late_part_to_tune_is_told() -> None:
    method = trained()
    method.encoder = Encoder(method.encoder.early, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), 8)
    with pytest.raises(
        UserError, match="the encoder is too shallow to split: all its parameters lie in the early part"
    ):
        stepped(method, umm())


def spoil_weights(method: Method) -> None:
    with torch.no_grad():
        method.encoder.late[0].weight[0] = float("nan")


def kill_late_part(method: Method) -> None:
    with torch.no_grad():
        method.encoder.late[1].weight.zero_()


@pytest.mark.parametrize(
    ("spoil", "weights", "said"),
    [
        (spoil_weights, (0.0, 1.0), "step 1 of UMM cannot be taken: a volume is zero or not finite"),
        (
            kill_late_part,
            (0.0, 1.0),
            "step 1 of UMM cannot be taken: a volume is zero or not finite. The late part may",
        ),
    ],
)
def test_what_is_not_finite_is_told_before_anything_moves(
    spoil: Callable[[Method], None], weights: tuple[float, float], said: str
) -> None:
    method = trained()
    spoil(method)
    before = copied(method)
    with pytest.raises(UserError, match=said):
        stepped(method, umm(*weights))
    assert {name for name in changed(before, method) if "late.0.weight" not in name} == set()
    assert all(module.training for module in method.modules())
    method.project(BATCH)  # the early part computes again
    assert method.encoder.early(VIEWS[0]).requires_grad


def test_half_precision_steps_too() -> None:
    how = umm()
    state = how.start(trained(), Optimising())
    taken = how.step(state, BATCH, MIDWAY, RATES, Machine(torch.device("cpu"), "bf16"))
    _, (single,) = stepped(trained(), how)
    assert taken.losses["loss"].item() == pytest.approx(single.losses["loss"].item(), rel=0.05)
    assert taken.losses["crr"].item() == pytest.approx(single.losses["crr"].item(), rel=0.1)
