"""SimSiam's loss against Eq. 2 of the paper written out, and which way its gradient goes."""

import math

import pytest
import torch
from torch import Tensor

from sslmlflow.methods import build_method
from sslmlflow.methods.simsiam import SimSiam
from tests.encoders.tiny import tiny_encoder


def simsiam() -> SimSiam:
    method = build_method("simsiam", "projection_width=8,bottleneck_width=4", tiny_encoder(), seed=0)
    assert isinstance(method, SimSiam)
    return method


def numbers(seed: int, n: int = 5, width: int = 8) -> Tensor:
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def eq_2(p1: Tensor, z1: Tensor, p2: Tensor, z2: Tensor) -> float:
    """Chen and He 2021, Eq. 1 and 2, averaged over the images."""

    def distance(p: list[float], z: list[float]) -> float:
        dot = sum(a * b for a, b in zip(p, z, strict=True))
        return -dot / math.sqrt(sum(a * a for a in p)) / math.sqrt(sum(b * b for b in z))

    total = 0.0
    for i in range(len(p1)):
        total += distance(p1[i].tolist(), z2[i].tolist()) / 2 + distance(p2[i].tolist(), z1[i].tolist()) / 2
    return total / len(p1)


def test_the_loss_is_eq_2() -> None:
    p1, z1, p2, z2 = (3 * numbers(seed) for seed in range(4))
    parts = {"first_prediction": p1, "first": z1, "second_prediction": p2, "second": z2}
    assert simsiam().loss(parts)["loss"].item() == pytest.approx(eq_2(p1, z1, p2, z2), rel=1e-6)


def test_perfect_predictions_have_a_loss_of_minus_one() -> None:
    p1, p2 = numbers(0), numbers(1)
    parts = {"first_prediction": p1, "first": 2 * p2, "second_prediction": p2, "second": 7 * p1}
    assert simsiam().loss(parts)["loss"].item() == pytest.approx(-1, rel=1e-6)


def test_no_gradient_flows_into_what_is_predicted() -> None:
    parts = {name: numbers(seed).requires_grad_() for seed, name in enumerate(("first", "second"))}
    predictions = {f"{name}_prediction": numbers(seed).requires_grad_() for seed, name in ((2, "first"), (3, "second"))}
    simsiam().loss({**parts, **predictions})["loss"].backward()
    assert all(part.grad is None for part in parts.values())
    assert all(prediction.grad is not None and prediction.grad.abs().sum() > 0 for prediction in predictions.values())


def test_each_view_is_projected_and_predicted_at_its_place() -> None:
    method = simsiam().eval()
    views = torch.randn(2, 5, 3, 8, 8)
    with torch.no_grad():
        found = method.project(views)
        for view, name in enumerate(("first", "second")):
            projected = torch.cat([method.projector(method.encoder(image[None])) for image in views[view]])
            torch.testing.assert_close(found[name], projected, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(found[f"{name}_prediction"], method.predictor(projected), rtol=1e-4, atol=1e-5)


def test_batchnorm_sees_one_view_at_a_time() -> None:
    method = simsiam()
    views = torch.stack([torch.randn(4, 3, 8, 8), 5 + 3 * torch.randn(4, 3, 8, 8)])
    alone = method.projector(method.encoder(views[1])).detach()
    torch.testing.assert_close(method.project(views)["second"].detach(), alone, rtol=1e-4, atol=1e-5)


def test_a_step_moves_encoder_projector_and_predictor() -> None:
    method = simsiam()
    method.loss(method.project(torch.randn(2, 4, 3, 8, 8)))["loss"].backward()
    assert all(parameter.grad is not None for parameter in method.parameters())
    assert sum(parameter.grad.abs().sum() for parameter in method.encoder.parameters()) > 0
