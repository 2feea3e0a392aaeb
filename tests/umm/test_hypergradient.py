"""Hypergradients against closed forms of a quadratic problem, and finite differences of a small network."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from sslmlflow.metrics.unlabelled.coding_rate import coding_rate_reduction_pairs, unit_rows
from sslmlflow.umm.density import divergence_from_even, log_volumes
from sslmlflow.umm.hypergradient import NAMES, Hypergradient, Objective, hypergradient

GIVEN = json.loads((Path(__file__).parents[1] / "vectors" / "hypergradient.json").read_text())
A, b, C, e, phi = (torch.tensor(GIVEN[name], dtype=torch.float64) for name in ("A", "b", "C", "e", "phi"))


def quadratic(name: str, terms: int = 5) -> Hypergradient:
    def inner(theta: tuple[Tensor, ...]) -> Tensor:
        return theta[0] @ A @ theta[0] / 2 - b @ theta[0]

    def outer(theta: tuple[Tensor, ...]) -> Tensor:
        return theta[0] @ C @ theta[0] / 2 - e @ theta[0]

    return hypergradient(name, inner, outer, [phi], GIVEN["lam"], terms=terms)


def close(found: Hypergradient, expected: str, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(
        found.gradient[0], torch.tensor(GIVEN[expected], dtype=torch.float64), rtol=tolerance, atol=tolerance
    )


def test_one_step_forms_are_those_of_the_reference() -> None:
    close(quadratic("first_order"), "grad_first_order")
    close(quadratic("unroll"), "grad_unroll_exact")
    close(quadratic("finite_diff"), "grad_unroll_exact", 1e-8)
    for name in ("first_order", "unroll", "finite_diff"):
        torch.testing.assert_close(quadratic(name).theta[0], torch.tensor(GIVEN["theta1"], dtype=torch.float64))
        assert quadratic(name).outer.item() == pytest.approx(GIVEN["F_theta1"])


def test_implicit_forms_reach_the_proximal_solution_and_its_gradient() -> None:
    many = quadratic("aid_neumann", terms=400)
    torch.testing.assert_close(many.theta[0], torch.tensor(GIVEN["theta_prox"], dtype=torch.float64))
    close(many, "grad_aid_exact")
    close(quadratic("aid_cg", terms=400), "grad_aid_exact")


@pytest.mark.parametrize("terms", [1, 5])
def test_neumann_terms_are_those_of_the_reference(terms: int) -> None:
    # The reference takes its terms at the solution itself; here the outer gradient there is fed in.
    at = torch.tensor(GIVEN["theta_prox"], dtype=torch.float64)
    found = hypergradient(
        "aid_neumann",
        lambda theta: theta[0] @ A @ theta[0] / 2 - b @ theta[0],
        lambda theta: (C @ at - e) @ theta[0],
        [phi],
        GIVEN["lam"],
        terms=terms,
    )
    close(found, f"grad_aid_neumann_K{terms}")


def test_conjugate_gradients_stop_on_negative_curvature_and_say_so() -> None:
    bowl_upside_down = hypergradient(
        "aid_cg", lambda theta: -10 * theta[0].square().sum(), lambda theta: theta[0].sum(), [phi], lam=0.1
    )
    assert bowl_upside_down.note is not None
    assert "negative curvature at step 1 of conjugate gradients: stopped there" in bowl_upside_down.note
    torch.testing.assert_close(bowl_upside_down.gradient[0], torch.ones_like(phi))  # the outer gradient as it is
    assert quadratic("aid_cg").note is None


def test_negative_curvature_found_later_keeps_what_was_found_before() -> None:
    bent = torch.tensor([1.0, -30.0, 0.5, 0.2], dtype=torch.float64)
    found = hypergradient(
        "aid_cg",
        lambda theta: (bent * theta[0].square()).sum() / 2,
        lambda theta: theta[0] @ torch.tensor([5.0, 0.5, 1.0, 2.0], dtype=torch.float64),
        [torch.zeros(4, dtype=torch.float64)],
        lam=0.1,
    )
    assert found.note is not None
    assert "negative curvature at step 2 of conjugate gradients: stopped there" in found.note
    assert torch.isfinite(found.gradient[0]).all()
    assert found.gradient[0].norm() > 0


@pytest.mark.parametrize("name", ["aid_neumann", "aid_cg"])
def test_what_grows_where_it_should_shrink_is_left_and_said(name: str) -> None:
    steep = torch.tensor([0.1, 0.5, 1.0, 30.0], dtype=torch.float64)  # times lam = 0.1: above 1
    found = hypergradient(
        name,
        lambda theta: (steep * theta[0].square()).sum() / 2,
        lambda theta: theta[0].sum(),
        [phi],
        lam=0.1,
        terms=40,
    )
    assert found.note is not None
    assert found.note.startswith("inner_lr times the curvature is above 1: the proximal problem was left at step")
    assert found.theta[0].norm() < 10 * phi.norm()
    assert found.gradient[0].norm() < 10


@pytest.mark.parametrize("name", ["aid_neumann", "aid_cg"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_grows_within_rounding_after_convergence_is_not_blamed_on_the_curvature(
    name: str, dtype: torch.dtype
) -> None:
    curvatures = torch.linspace(-9, 9, 29, dtype=dtype)  # times lam = 0.1: below 1
    slopes, generator = torch.linspace(1, 3, 29, dtype=dtype), torch.Generator().manual_seed(0)

    def inner(theta: tuple[Tensor, ...]) -> Tensor:
        return (curvatures * theta[0].square()).sum() / 2 - slopes @ theta[0]

    drawn = torch.randn(29, generator=generator, dtype=dtype)
    solved = slopes / curvatures.masked_fill(curvatures == 0, 1)  # flat there but for one direction
    for phi in (drawn, 1e3 * drawn, solved):
        found = hypergradient(name, inner, lambda theta: theta[0].square().sum(), [phi], lam=0.1, terms=450)
        assert found.note is None
        exact = (phi + 0.1 * slopes) / (1 + 0.1 * curvatures)
        torch.testing.assert_close(found.theta[0], exact, rtol=1e-3, atol=1e-3 * float(exact.abs().max()))


def test_noise_of_bfloat16_is_not_blamed_on_the_curvature_and_a_step_too_long_is() -> None:
    torch.manual_seed(0)
    net = nn.Linear(32, 32)
    images, targets = torch.randn(64, 32), torch.randn(64, 32)

    def inner(theta: tuple[Tensor, ...]) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = functional_call(net, dict(zip(("weight", "bias"), theta, strict=True)), (images,))
        return (found.float() - targets).square().mean()

    def note(lam: float) -> str | None:
        return hypergradient("aid_cg", inner, inner, list(net.parameters()), lam, terms=60).note

    curvature = 2 * float(torch.linalg.eigvalsh(images.T @ images)[-1]) / targets.numel()
    assert note(0.3 / curvature) is None
    assert "the proximal problem was left" in (note(2 / curvature) or "")


def test_an_outer_objective_without_slope_moves_nothing() -> None:
    for name in NAMES:
        still = hypergradient(name, lambda theta: theta[0].pow(4).sum(), lambda theta: 0 * theta[0].sum(), [phi], 0.01)
        assert still.gradient[0].count_nonzero() == 0


def test_phi_and_its_gradients_are_left_alone() -> None:
    parameter = nn.Parameter(phi.clone())
    for name in NAMES:
        hypergradient(name, lambda theta: theta[0].pow(4).sum(), lambda theta: theta[0].sum(), [parameter], 0.01)
    torch.testing.assert_close(parameter.detach(), phi, rtol=0, atol=0)
    assert parameter.grad is None


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ValueError, match="hypergradient=cg is not one of unroll, first_order, finite_diff"):
        quadratic("cg")


class SmallProblem:
    """Alignment of two views as the loss, with the divergence and the coding rate reduction of UMM, in float64."""

    def __init__(self, lam: float) -> None:
        self.lam = lam
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4)).double()
        self.names = [name for name, _ in self.net.named_parameters()]
        self.phi = tuple(p.detach().clone() for p in self.net.parameters())
        images = torch.randn(10, 6, dtype=torch.float64)
        self.views = images + 0.3 * torch.randn(2, 10, 6, dtype=torch.float64)

    def f(self, theta: tuple[Tensor, ...], x: Tensor) -> Tensor:
        named: dict[str, Any] = dict(zip(self.names, theta, strict=True))
        embeddings: Tensor = functional_call(self.net, named, (x,))
        return embeddings

    def loss(self, theta: tuple[Tensor, ...]) -> Tensor:
        first, second = self.f(theta, self.views)
        return (first - second).square().mean() - 0.1 * first.std(0).log().mean()

    def inner(self, theta: tuple[Tensor, ...]) -> Tensor:
        volumes = log_volumes(lambda x: self.f(theta, x), self.views.flatten(0, 1), "frob", k=4)
        return self.loss(theta) + 20 * divergence_from_even(volumes, kappa=0.5)

    def outer(self, theta: tuple[Tensor, ...]) -> Tensor:
        return self.loss(theta) - 0.1 * coding_rate_reduction_pairs(unit_rows(self.f(theta, self.views))).dR

    def after_one_step(self, phi: tuple[Tensor, ...]) -> Tensor:
        leaves = [p.clone().requires_grad_() for p in phi]
        slopes = torch.autograd.grad(self.inner(tuple(leaves)), leaves, materialize_grads=True)
        return self.outer(tuple(p - self.lam * g for p, g in zip(phi, slopes, strict=True)))

    def at_the_proximal_solution(self, phi: tuple[Tensor, ...], steps: int = 30) -> Tensor:
        theta = phi
        for _ in range(steps):
            leaves = [p.clone().requires_grad_() for p in theta]
            slopes = torch.autograd.grad(self.inner(tuple(leaves)), leaves, materialize_grads=True)
            theta = tuple(p - self.lam * g for p, g in zip(phi, slopes, strict=True))
        return self.outer(theta)


def slope_along(objective: Objective, phi: tuple[Tensor, ...], direction: list[Tensor], h: float = 1e-5) -> float:
    ahead, behind = (
        objective(tuple(p + side * h * d for p, d in zip(phi, direction, strict=True))).item() for side in (1, -1)
    )
    return (ahead - behind) / (2 * h)


@pytest.mark.parametrize(
    ("name", "terms", "tolerance"),
    [("unroll", 1, 1e-5), ("finite_diff", 1, 1e-2), ("aid_neumann", 20, 1e-4), ("aid_cg", 20, 1e-4)],
)
def test_hypergradients_of_a_small_network_match_finite_differences(name: str, terms: int, tolerance: float) -> None:
    implicit = name.startswith("aid")
    problem = SmallProblem(lam=0.01 if implicit else 0.05)  # implicit forms need lam |H| < 1
    found = hypergradient(name, problem.inner, problem.outer, problem.phi, problem.lam, terms=terms)
    whole = problem.at_the_proximal_solution if implicit else problem.after_one_step
    plain = hypergradient("first_order", problem.inner, problem.outer, problem.phi, problem.lam)
    generator = torch.Generator().manual_seed(1)
    for _ in range(2):
        direction = [torch.randn(p.shape, generator=generator, dtype=torch.float64) for p in problem.phi]
        measured = slope_along(whole, problem.phi, direction)
        ours, first_order = (
            sum((g * d).sum().item() for g, d in zip(way.gradient, direction, strict=True)) for way in (found, plain)
        )
        assert ours == pytest.approx(measured, rel=tolerance)
        assert abs(first_order - measured) > 10 * abs(ours - measured)  # the second derivatives are what counts
