"""The weights with which UMM's terms pull as strongly as the loss, and the soft form of the coding rate reduction."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from sslmlflow.methods import Method
from sslmlflow.umm.balance import balance
from sslmlflow.umm.fixed_early import fixed_early, tuned_parameters
from sslmlflow.umm.objective import Objectives, Weights
from tests.methods.batch import MIDWAY, batch_of
from tests.umm.test_step import BATCH, CPU, VIEWS, trained

WEIGHTS = Weights(0.0, 0.0, directions=4, js_images=12)


def length(method: Method, value: Callable[[], Tensor]) -> float:
    """Of the gradient of what a method with plain autograd gives, in the late part."""
    late = list(method.encoder.late.parameters())
    slopes = torch.autograd.grad(value(), late, materialize_grads=True)
    return float(torch.cat([slope.flatten() for slope in slopes]).norm())


@pytest.mark.parametrize("crr", ["pairs", "soft"])
def test_with_these_weights_the_gradients_in_the_late_part_are_equally_long(crr: str) -> None:
    method, weights = trained("simclr"), replace(WEIGHTS, crr=crr)
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    found = balance(["alpha", "beta"], method, [BATCH], weights, CPU, seed=0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in method.state_dict().items())
    tuned = tuned_parameters(method)
    with fixed_early(method, BATCH, CPU) as (maps,):
        terms = Objectives(method, BATCH, maps, list(tuned), weights, CPU, 0, MIDWAY)
        divergence = length(method, lambda: terms.divergence(tuple(tuned.values())))
    method.encoder.early.eval()
    loss = length(method, lambda: method.loss(method.project(BATCH), MIDWAY)["loss"])
    rate = length(method, lambda: reduction(method.encoder.embed(VIEWS.flatten(0, 1))[1], crr))
    assert found["alpha"] * rate == pytest.approx(loss, rel=1e-3)
    assert found["beta"] * divergence == pytest.approx(loss, rel=1e-3)


def test_of_several_batches_it_is_the_ratio_of_the_medians() -> None:
    method = trained("simclr")
    several = [VIEWS, VIEWS.flip(0) * 0.5, VIEWS.flip(1) * 0.2, VIEWS * 0.1, VIEWS.square()]
    found = balance(["alpha"], method, map(batch_of, several), WEIGHTS, CPU, seed=0)
    method.encoder.early.eval()
    losses = [
        length(method, lambda v=views: method.loss(method.project(batch_of(v)), MIDWAY)["loss"]) for views in several
    ]
    rates = [
        length(method, lambda v=views: reduction(method.encoder.embed(v.flatten(0, 1))[1], "pairs"))
        for views in several
    ]
    assert len({round(loss / rate, 6) for loss, rate in zip(losses, rates, strict=True)}) == 5
    assert found == {"alpha": pytest.approx(np.median(losses) / np.median(rates), rel=1e-3)}


def test_a_term_without_a_gradient_is_named_where_its_weight_is_wanted() -> None:
    method, same = trained("simclr"), [VIEWS[:1, :1].expand(2, 12, 3, 8, 8).contiguous()]
    with pytest.raises(ValueError, match="divergence of the densities has no gradient"):
        balance(["beta"], method, map(batch_of, same), WEIGHTS, CPU, seed=0)


def reduction(late: Tensor, crr: str, eps: float = 0.5) -> Tensor:
    """The coding rate reduction of late embeddings (2n, d), all first views and then all second ones, written out."""
    z = (late / late.norm(dim=1, keepdim=True)).double()
    m, d = z.shape
    whole = torch.logdet(torch.eye(d) + d / (m * eps**2) * z.T @ z) / 2
    if crr == "pairs":
        classes = torch.eye(m // 2, dtype=torch.float64).repeat(2, 1)
    else:
        powers = torch.exp(z @ z.T / 0.1) * (1 - torch.eye(m))
        classes = powers / powers.sum(1, keepdim=True)  # of every view, over the anchors
    parts = []
    for members in classes.T:
        t = members.sum()
        parts.append(t / (2 * m) * torch.logdet(torch.eye(d) + d / (t * eps**2) * (z * members[:, None]).T @ z))
    return whole - torch.stack(parts).sum()


@pytest.mark.parametrize("crr", ["pairs", "soft"])
def test_the_reduction_and_its_gradient_are_those_of_the_equations(crr: str) -> None:
    method = trained("simclr")
    tuned = tuned_parameters(method)
    with fixed_early(method, BATCH, CPU) as (maps,):
        terms = Objectives(method, BATCH, maps, list(tuned), replace(WEIGHTS, crr=crr), CPU, 0, MIDWAY)
        found = terms.reduction(tuple(tuned.values()))
        late = list(method.encoder.late.parameters())
        slopes = torch.autograd.grad(found, late)
        expected = reduction(method.encoder.late(maps), crr)
        by_hand = torch.autograd.grad(expected, late)
    assert found.item() == pytest.approx(expected.item(), rel=1e-4)
    for slope, hand in zip(slopes, by_hand, strict=True):
        np.testing.assert_allclose(slope, hand, rtol=2e-3, atol=1e-5)
