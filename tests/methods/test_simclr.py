"""SimCLR's loss against Eq. 1 of the paper written out, and what its two halves hand over."""

import math

import pytest
import torch
from torch import Tensor

from sslmlflow.methods import build_method
from sslmlflow.methods.simclr import SimCLR
from tests.encoders.tiny import tiny_encoder

SMALL_HEADS = "hidden_width=16,projection_width=8"


def simclr(options: str = SMALL_HEADS) -> SimCLR:
    method = build_method("simclr", options, tiny_encoder(), seed=0)
    assert isinstance(method, SimCLR)
    return method


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cosine(u: list[float], v: list[float]) -> float:
    dot = sum(a * b for a, b in zip(u, v, strict=True))
    return dot / math.sqrt(sum(a * a for a in u)) / math.sqrt(sum(b * b for b in v))


def eq_1(first: Tensor, second: Tensor, temperature: float) -> float:
    """Chen et al. 2020, Eq. 1, averaged over both orders of each positive pair."""
    z = [row for pair in zip(first.tolist(), second.tolist(), strict=True) for row in pair]  # 2k, 2k + 1 are a pair
    total = 0.0
    for i in range(len(z)):
        j = i + 1 if i % 2 == 0 else i - 1
        denominator = 0.0
        for k in range(len(z)):
            if k != i:
                denominator += math.exp(cosine(z[i], z[k]) / temperature)
        total -= math.log(math.exp(cosine(z[i], z[j]) / temperature) / denominator)
    return total / len(z)


@pytest.mark.parametrize(("n", "width", "temperature"), [(2, 3, 0.5), (5, 4, 0.1), (7, 2, 1.0), (6, 16, 0.05)])
def test_the_loss_is_eq_1(n: int, width: int, temperature: float) -> None:
    method = simclr(f"temperature={temperature}")
    first, second = 3 * numbers(n, width), numbers(n, width, seed=1)
    loss = method.loss({"first": first, "second": second})["loss"].item()
    assert loss == pytest.approx(eq_1(first, second, temperature), rel=1e-6)


@pytest.mark.parametrize("n", [2, 8])
def test_identical_views_of_orthogonal_images_have_the_loss_of_the_closed_form(n: int) -> None:
    projections = torch.eye(n, 10) * 7
    loss = simclr("temperature=0.5").loss({"first": projections, "second": projections})["loss"].item()
    # The positive has similarity 1, and the 2n - 2 views of the other images have 0.
    assert loss == pytest.approx(math.log(math.exp(2) + 2 * n - 2) - 2, rel=1e-6)


def test_the_loss_knows_neither_the_order_of_the_views_nor_of_the_images() -> None:
    method, first, second = simclr(), numbers(6, 4), numbers(6, 4, seed=1)
    loss = method.loss({"first": first, "second": second})["loss"].item()
    assert method.loss({"first": second, "second": first})["loss"].item() == pytest.approx(loss, rel=1e-6)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    assert method.loss({"first": first[order], "second": second[order]})["loss"].item() == pytest.approx(loss, rel=1e-6)
    wrong = method.loss({"first": first, "second": second[order]})["loss"].item()
    assert wrong != pytest.approx(loss, rel=1e-3)


def test_the_loss_is_a_pure_function() -> None:
    method, first, second = simclr(), numbers(6, 4).requires_grad_(), numbers(6, 4, seed=1)
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    values = [method.loss({"first": first, "second": second})["loss"].item() for _ in range(2)]
    assert values[0] == values[1]
    assert all(torch.equal(tensor, before[name]) for name, tensor in method.state_dict().items())


def test_half_precision_projections_are_compared_in_float32() -> None:
    method, first, second = simclr("temperature=0.05"), numbers(6, 4).bfloat16(), numbers(6, 4, seed=1).bfloat16()
    loss = method.loss({"first": first, "second": second})["loss"]
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(eq_1(first.double(), second.double(), 0.05), rel=1e-5)


def test_each_view_is_projected_to_its_place() -> None:
    method = simclr().eval()
    views = torch.randn(2, 5, 3, 8, 8)
    with torch.no_grad():
        projections = method.project(views)
        for view, name in enumerate(("first", "second")):
            one_by_one = torch.cat([method.projector(method.encoder(image[None])) for image in views[view]])
            torch.testing.assert_close(projections[name], one_by_one, rtol=1e-4, atol=1e-5)
    assert projections["first"].shape == (5, 8)


def test_a_step_moves_encoder_and_projector() -> None:
    method = simclr()
    method.loss(method.project(torch.randn(2, 4, 3, 8, 8)))["loss"].backward()
    assert all(parameter.grad is not None for parameter in method.parameters())
    assert sum(parameter.grad.abs().sum() for parameter in method.encoder.parameters()) > 0
