"""Optimisers: what decays, against torch's and timm's written out, clipping, and state by the parameters' names."""

import pytest
import torch
from torch import Tensor, nn

from sslmlflow.training.optimisers import NAMES, Optimiser, Optimising, build_optimiser
from sslmlflow.training.schedules import Rates

RATES = Rates(lr=0.1, momentum=0.8, weight_decay=0.05)


def layers(seed: int = 0) -> dict[str, nn.Parameter]:
    torch.manual_seed(seed)
    return dict(nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).named_parameters())


def slopes(seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(p.shape, generator=generator) for p in layers().values()]


def stepped(optimiser: Optimiser, steps: int, first: int = 0) -> None:
    for number in range(first, first + steps):
        for parameter, slope in zip(optimiser.parameters.values(), slopes(number), strict=True):
            parameter.grad = slope.clone()
        optimiser.set_rates(RATES)
        optimiser.step()


def test_lars_is_its_equation_for_weights_and_plain_momentum_for_biases_and_norms() -> None:
    """You et al. 2017 (arXiv 1708.03888), Eq. 6, with the ratio clipped as LARC does."""
    optimiser = build_optimiser(Optimising("lars", trust=0.5, trust_clip=True), layers())
    expected = {name: p.detach().clone() for name, p in layers().items()}
    moved = {name: torch.zeros_like(p) for name, p in expected.items()}
    for number in range(3):
        for (name, p), g in zip(expected.items(), slopes(number), strict=True):
            if p.ndim > 1:
                ratio = 0.5 * p.norm() / (g.norm() + 0.05 * p.norm())
                g = min(float(ratio) / 0.1, 1.0) * (g + 0.05 * p)
            moved[name] = 0.8 * moved[name] + g
            p -= 0.1 * moved[name]
    stepped(optimiser, 3)
    for name, p in optimiser.parameters.items():
        torch.testing.assert_close(p.detach(), expected[name])


@pytest.mark.parametrize("decay_all", [False, True])
def test_biases_and_norms_decay_only_where_the_recipe_says_so(decay_all: bool) -> None:
    for name in NAMES:
        parameters = layers()
        before = {key: p.detach().clone() for key, p in parameters.items()}
        optimiser = build_optimiser(Optimising(name, decay_all), parameters)
        for parameter in parameters.values():
            parameter.grad = torch.zeros_like(parameter)
        optimiser.set_rates(RATES)
        optimiser.step()
        moved = {key for key, p in parameters.items() if not torch.equal(p, before[key])}
        nonzero = {key for key, p in before.items() if p.abs().sum() > 0}
        assert moved == (nonzero if decay_all else {"0.weight"}), name


def test_plain_sgd_is_torchs_and_momentum_is_adams_first_beta() -> None:
    ours, theirs = build_optimiser(Optimising("sgd", decay_all=True), layers()), layers()
    alone = torch.optim.SGD(theirs.values(), lr=0.1, momentum=0.8, weight_decay=0.05)
    for number in range(3):
        stepped(ours, 1, first=number)
        for parameter, slope in zip(theirs.values(), slopes(number), strict=True):
            parameter.grad = slope
        alone.step()
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters.values(), theirs.values(), strict=True))
    adam = build_optimiser(Optimising("adamw"), layers())
    adam.set_rates(RATES)
    assert [group["betas"] for group in adam.of.param_groups] == [(0.8, 0.999)] * 2


def test_a_gradient_that_is_too_long_is_cut_down() -> None:
    optimiser = build_optimiser(Optimising("sgd", clip=0.01), layers())
    before = torch.cat([p.detach().flatten() for p in optimiser.parameters.values()])
    for parameter, slope in zip(optimiser.parameters.values(), slopes(0), strict=True):
        parameter.grad = slope
    optimiser.set_rates(Rates(lr=1.0))
    optimiser.step()
    after = torch.cat([p.detach().flatten() for p in optimiser.parameters.values()])
    assert (after - before).norm().item() == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_a_restored_optimiser_goes_on_to_the_bit_also_from_state_that_is_named_by_order(name: str) -> None:
    whole = build_optimiser(Optimising(name), layers())
    stepped(whole, 4)
    half = build_optimiser(Optimising(name), layers())
    stepped(half, 2)
    kept = {path: tensor.clone() for path, tensor in half.tensors().items()}
    order = {key: str(place) for place, key in enumerate(half.parameters)}
    earlier = {f"{order[path.rpartition('.')[0]]}.{path.rpartition('.')[2]}": of for path, of in kept.items()}
    for tensors in (kept, earlier, dict(reversed(kept.items()))):
        parameters = {key: nn.Parameter(p.detach().clone()) for key, p in half.parameters.items()}
        resumed = build_optimiser(Optimising(name), parameters)
        resumed.restore(tensors)
        stepped(resumed, 2, first=2)
        assert all(torch.equal(p, whole.parameters[key]) for key, p in resumed.parameters.items())


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ValueError, match="optimiser rmsprop is not one of sgd, lars, adamw"):
        build_optimiser(Optimising("rmsprop"), layers())
