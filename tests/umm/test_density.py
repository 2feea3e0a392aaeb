"""Log-volumes and the divergence against reference values, closed forms and finite differences."""

import json
from collections.abc import Callable
from math import log, log1p
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from sslmlflow.umm import density
from sslmlflow.umm.density import divergence_from_even, log_volume, log_volumes

VECTORS = Path(__file__).parents[1] / "vectors"


def vectors(name: str) -> Any:
    return json.loads((VECTORS / f"{name}.json").read_text())


def tensor(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("case", vectors("log_volume")["cases"], ids=lambda case: case["name"])
def test_log_volume_is_that_of_the_reference(case: dict[str, Any]) -> None:
    assert log_volume(tensor(case["J"]), case["delta"]).item() == pytest.approx(case["log_volume"], abs=1e-10)


@pytest.mark.parametrize("case", vectors("js_term")["cases"], ids=lambda case: case["name"])
def test_divergence_is_that_of_the_reference(case: dict[str, Any]) -> None:
    found = divergence_from_even(tensor(case["log_volume"]), case["kappa"]).item()
    assert found == pytest.approx(case["JS_nats"], abs=1e-10)


def reference_network() -> tuple[Callable[[Tensor], Tensor], Tensor, dict[str, Any]]:
    given = vectors("mlp_density")
    W1, b1, W2, b2, z = (tensor(given[name]) for name in ("W1", "b1", "W2", "b2", "z"))
    return lambda x: torch.tanh(x @ W1.T + b1) @ W2.T + b2, z, given


def with_floor(jacobians: list[Any]) -> Tensor:
    """The log-volumes of the reference's Jacobians with a hundredth of the mean squared singular value added."""
    J = np.array(jacobians)
    d = J.shape[1]
    floor = 0.01 * (J**2).sum((1, 2)).mean() / d
    return torch.tensor([np.linalg.slogdet(one @ one.T + floor * np.eye(d))[1] / 2 for one in J])


def test_exact_log_volumes_of_a_network_are_those_of_its_reference_jacobians() -> None:
    f, z, given = reference_network()
    expected = with_floor([sample["J"] for sample in given["per_sample"]])
    torch.testing.assert_close(log_volumes(f, z, "exact").detach(), expected)
    assert log_volume(tensor([s["J"] for s in given["per_sample"]])).tolist() == pytest.approx(
        [s["log_volume"] for s in given["per_sample"]]
    )


def test_divergence_of_a_network_is_that_of_the_reference() -> None:
    _, _, given = reference_network()
    found = divergence_from_even(tensor([s["log_volume"] for s in given["per_sample"]]), kappa=1.0)
    assert found.item() == pytest.approx(given["JS_nats"], abs=1e-12)


def test_all_directions_of_the_output_make_the_projection_exact() -> None:
    f, z, _ = reference_network()
    torch.testing.assert_close(log_volumes(f, z, "proj_out", k=3, seed=5), log_volumes(f, z, "exact"))


def test_the_frobenius_bound_is_the_references_and_above_the_volume() -> None:
    f, z, given = reference_network()
    bounds = log_volumes(f, z, "frob", k=3)
    assert bounds.tolist() == pytest.approx([s["log_volume_frob_bound"] for s in given["per_sample"]])
    assert all(bound >= s["log_volume"] for bound, s in zip(bounds.tolist(), given["per_sample"], strict=True))


def test_many_directions_of_the_input_come_near_the_exact_volume() -> None:
    f, z, _ = reference_network()
    exact = log_volumes(f, z, "exact")
    assert (log_volumes(f, z, "sketch_in", k=300) - exact).abs().max() < 0.3


@pytest.mark.parametrize("estimator", ["proj_out", "frob"])
def test_few_directions_rank_linear_maps_by_their_volume(estimator: str) -> None:
    # Sample i goes through the same random map, i times as large: its volume grows by d log(i).
    d = 16
    map_ = torch.randn(d, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    sizes = torch.arange(1.0, 9.0, dtype=torch.float64)
    z = torch.cat([torch.eye(8, dtype=torch.float64), torch.zeros(8, 56, dtype=torch.float64)], dim=1)

    def f(x: Tensor) -> Tensor:
        return (x @ map_.T) * (x.detach()[:, :8] @ sizes)[:, None]

    found = log_volumes(f, z, estimator, k=4)
    assert (found.diff() > 0).all()
    if estimator == "frob":  # without the floor, the difference is exactly that
        torch.testing.assert_close(found - found[0], d * sizes.log())


@pytest.mark.parametrize("estimator", ["proj_out", "exact", "sketch_in", "frob"])
def test_gradient_of_the_divergence_matches_finite_differences(estimator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(density, "FLOOR", 0.0)  # it has no gradient, but a finite difference would see it move
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    names = [name for name, _ in net.named_parameters()]
    z = torch.randn(7, 6, dtype=torch.float64)

    def divergence(*parameters: Tensor) -> Tensor:
        named = dict(zip(names, parameters, strict=True))
        volumes = log_volumes(lambda x: functional_call(net, named, (x,)), z, estimator, k=4)
        return divergence_from_even(volumes, kappa=1.0)

    at = [p.detach().clone().requires_grad_() for p in net.parameters()]
    slopes = torch.autograd.grad(divergence(*at), at, allow_unused=True)
    first = slopes[0]
    assert first is not None
    assert first.norm() > 1e-4
    h = 1e-5
    direction = torch.randn_like(at[0])
    ahead, behind = (divergence(at[0] + side * h * direction, *at[1:]).item() for side in (1, -1))
    measured = (ahead - behind) / (2 * h)
    assert (first * direction).sum().item() == pytest.approx(measured, rel=1e-6)


@pytest.mark.parametrize("estimator", ["proj_out", "exact", "sketch_in", "frob"])
def test_second_derivatives_of_the_divergence_exist(estimator: str) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    weight = net[0].weight
    volumes = log_volumes(net, torch.randn(7, 6, dtype=torch.float64), estimator, k=4)
    (slope,) = torch.autograd.grad(divergence_from_even(volumes, kappa=1.0), weight, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.square().sum(), weight)
    assert curvature.norm() > 0


def test_even_volumes_diverge_by_nothing_and_one_taking_all_by_less_than_ln_2() -> None:
    assert divergence_from_even(torch.full((64,), 123.0).double(), 1.0).item() == pytest.approx(0, abs=1e-12)
    one = torch.zeros(96, dtype=torch.float64)
    one[3] = -1e4
    n = 96
    closed_form = 0.5 * (-(1 - 1 / n) * log(0.5) + -log((1 + n) / 2) / n) + 0.5 * (log(2) - log1p(1 / n))
    assert divergence_from_even(one, 1.0).item() == pytest.approx(closed_form)
    assert closed_form < log(2)


def test_what_has_no_volume_is_told() -> None:
    dead = nn.Linear(6, 3).double()
    nn.init.zeros_(dead.weight)
    z = torch.randn(4, 6, dtype=torch.float64)
    for estimator in ("proj_out", "exact", "frob"):
        with pytest.raises(ValueError, match="a volume is zero or not finite"):
            log_volumes(dead, z, estimator, k=2)
    with pytest.raises(ValueError, match="a volume is zero or not finite"):
        log_volume(torch.tensor([[float("nan"), 1.0]]))
    with pytest.raises(ValueError, match="a volume is zero or not finite"):
        divergence_from_even(torch.tensor([0.0, float("inf")]), 1.0)


def test_what_cannot_be_estimated_is_told() -> None:
    f, z, _ = reference_network()
    with pytest.raises(ValueError, match="estimator=exactly is not one of proj_out, exact, sketch_in, frob"):
        log_volumes(f, z, "exactly")
    with pytest.raises(ValueError, match="sketch_in needs at least 3 directions for 3 outputs, got 2"):
        log_volumes(f, z, "sketch_in", k=2)
    with pytest.raises(ValueError, match="proj_out needs at least 1 directions"):
        log_volumes(f, z, "proj_out", k=0)


def test_one_dead_output_does_not_take_the_volume_away() -> None:
    net = nn.Linear(6, 3).double()
    with torch.no_grad():
        net.weight[1] = 0
    found = log_volumes(net, torch.randn(4, 6, dtype=torch.float64), "exact")
    assert torch.isfinite(found).all()
