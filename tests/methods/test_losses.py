"""Losses as plain functions: closed forms, symmetries, and where no gradient goes."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from sslmlflow.methods.barlow_twins import barlow_twins_loss
from sslmlflow.methods.byol import byol_loss
from sslmlflow.methods.dino import dino_loss
from sslmlflow.methods.simclr import nt_xent
from sslmlflow.methods.simsiam import negative_cosine
from sslmlflow.methods.swav import sinkhorn
from sslmlflow.methods.vicreg import vicreg_loss
from sslmlflow.methods.vicregl import places_in_image, vicregl_local_loss


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


PAIRS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "nt_xent": lambda a, b: nt_xent(a, b, 0.5),
    "barlow_twins": barlow_twins_loss,
    "vicreg": vicreg_loss,
}


@pytest.mark.parametrize("name", PAIRS)
def test_the_loss_of_two_views_knows_neither_their_order_nor_that_of_the_images(name: str) -> None:
    loss, first, second = PAIRS[name], numbers(6, 4), numbers(6, 4, seed=1)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    found = loss(first, second)
    torch.testing.assert_close(loss(second, first), found)
    torch.testing.assert_close(loss(first[order], second[order]), found)
    assert loss(first, second[order]).item() != pytest.approx(found.item(), rel=1e-3)


@pytest.mark.parametrize("n", [2, 8])
def test_identical_views_of_orthogonal_images_have_the_nt_xent_of_the_closed_form(n: int) -> None:
    projections = torch.eye(n, 10) * 7
    # The positive has similarity 1, and the 2n - 2 views of the other images have 0.
    assert nt_xent(projections, projections, 0.5).item() == pytest.approx(math.log(math.exp(2) + 2 * n - 2) - 2)


@pytest.mark.parametrize("loss", [negative_cosine, byol_loss])
def test_no_gradient_flows_into_what_is_predicted(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    prediction, target = numbers(5, 8).requires_grad_(), numbers(5, 8, seed=1).requires_grad_()
    loss(prediction, target).backward()
    assert target.grad is None
    assert prediction.grad is not None
    assert prediction.grad.abs().sum() > 0
    ends = {negative_cosine: -1.0, byol_loss: 0.0}
    assert loss(3 * target, 7 * target).item() == pytest.approx(ends[loss], abs=1e-12)


def test_no_gradient_flows_into_dinos_teacher() -> None:
    student, teacher = numbers(4, 5, 3).requires_grad_(), numbers(2, 5, 3).requires_grad_()
    dino_loss(student, teacher, torch.zeros(3, dtype=torch.float64)).backward()
    assert teacher.grad is None
    assert student.grad is not None


def test_codes_are_finite_however_hard_they_are() -> None:
    codes = sinkhorn(torch.tensor([[1.0, 0.9], [-0.9, -1.0]]), eps=0.001)
    torch.testing.assert_close(codes.sum(dim=1), torch.ones(2))


@pytest.mark.parametrize("scale", [0.1, 50.0])
def test_codes_use_all_prototypes_alike(scale: float) -> None:
    scores = torch.nn.functional.normalize(numbers(40, 8), dim=1) * scale
    codes = sinkhorn(scores, eps=0.5, iterations=500)
    torch.testing.assert_close(codes.sum(dim=1), torch.ones(40, dtype=torch.float64))
    if scale < 1:
        torch.testing.assert_close(codes.sum(dim=0), torch.full((8,), 5.0, dtype=torch.float64))
    assert codes.isfinite().all()


def test_places_follow_a_crop_that_is_mirrored_and_upside_down() -> None:
    there = places_in_image(torch.tensor([2.0, 10.0, 6.0, 14.0]), 2, 2)
    assert there.tolist() == [[3, 11], [5, 11], [3, 13], [5, 13]]
    assert places_in_image(torch.tensor([6.0, 14.0, 2.0, 10.0]), 2, 2).tolist() == there.flip(0).tolist()


def test_places_that_are_moved_alike_are_matched_with_themselves() -> None:
    places, features = numbers(4, 6, 2), numbers(4, 6, 5, seed=1)
    shuffled = torch.tensor([4, 2, 0, 5, 1, 3])
    args = features, features[:, shuffled], places, places[:, shuffled], 6
    # All pairs are of the same features: nothing is left but spread and covariance, which know no order of places.
    whole = vicregl_local_loss(*args, weights=(1.0, 0.0, 0.0))
    assert whole.item() == 0
    assert vicregl_local_loss(features, features.flip(0), places, places, 6, (1.0, 0.0, 0.0)).item() > 0
