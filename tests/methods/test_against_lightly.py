"""Losses and heads against those of lightly, which others use: values, gradients, and how weights are drawn."""

from collections.abc import Callable

import pytest
import torch
from lightly.loss import (
    BarlowTwinsLoss,
    DINOLoss,
    NegativeCosineSimilarity,
    NTXentLoss,
    SwaVLoss,
    VICRegLLoss,
    VICRegLoss,
)
from lightly.models.modules.heads import (
    MoCoProjectionHead,
    SimCLRProjectionHead,
    SimSiamPredictionHead,
    SimSiamProjectionHead,
)
from torch import Tensor, nn

from sslmlflow.methods.barlow_twins import barlow_twins_loss
from sslmlflow.methods.byol import byol_loss
from sslmlflow.methods.dino import dino_loss
from sslmlflow.methods.heads import Head
from sslmlflow.methods.moco import info_nce
from sslmlflow.methods.simclr import nt_xent
from sslmlflow.methods.simsiam import negative_cosine
from sslmlflow.methods.swav import sinkhorn, swav_loss
from sslmlflow.methods.vicreg import vicreg_loss
from tests.methods.batch import MIDWAY
from tests.methods.narrow import narrow, some_batch

Loss = Callable[[Tensor, Tensor], Tensor]


def with_queue(temperature: float) -> tuple[Loss, Loss]:
    """The loss against a queue of 16 keys, and lightly's against a memory bank that holds the same."""
    theirs = NTXentLoss(temperature, memory_bank_size=(16, 6))
    theirs.memory_bank(torch.randn(16, 6, dtype=torch.float64), update=True)
    queue = theirs.memory_bank.bank.double()
    theirs.memory_bank.bank = theirs.memory_bank.bank.double()
    return lambda query, key: info_nce(query, key, temperature, queue), theirs


LOSSES: dict[str, Callable[[], tuple[Loss, Loss]]] = {
    "NT-Xent, 0.5": lambda: (lambda a, b: nt_xent(a, b, 0.5), NTXentLoss(0.5)),
    "NT-Xent, 0.05": lambda: (lambda a, b: nt_xent(a, b, 0.05), NTXentLoss(0.05)),
    "InfoNCE with a queue": lambda: with_queue(0.1),
    "negative cosine": lambda: (negative_cosine, lambda a, b: NegativeCosineSimilarity()(a, b.detach())),
    "BYOL": lambda: (byol_loss, lambda a, b: 2 + 2 * NegativeCosineSimilarity()(a, b.detach())),
    "Barlow Twins": lambda: (lambda a, b: barlow_twins_loss(a, b, 0.02), BarlowTwinsLoss(0.02)),
    "VICReg": lambda: (lambda a, b: vicreg_loss(a, b, 3.0, 4.0, 5.0), VICRegLoss(3.0, 4.0, 5.0)),
    "VICReg of places": lambda: (
        lambda a, b: vicreg_loss(a.reshape(3, 3, 6), b.reshape(3, 3, 6)),
        lambda a, b: VICRegLoss()(a.reshape(3, 3, 6), b.reshape(3, 3, 6)),
    ),
    "SwAV": lambda: (
        lambda a, b: swav_loss(torch.stack([a, b]), torch.stack([sinkhorn(a, 0.5), sinkhorn(b, 0.5)]), 0.3),
        lambda a, b: SwaVLoss(0.3, sinkhorn_epsilon=0.5)([a, b], []).squeeze(),
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_and_their_gradients(name: str) -> None:
    torch.manual_seed(0)
    first, second = torch.randn(2, 9, 6, dtype=torch.float64)
    found = []
    for loss in LOSSES[name]():
        one, other = first.clone().requires_grad_(), second.clone().requires_grad_()
        value = loss(one, other)
        value.backward()
        found.append([value.detach(), one.grad, torch.zeros(()) if other.grad is None else other.grad])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_swav_with_small_views_and_a_queue() -> None:
    torch.manual_seed(0)
    scores, queued = torch.randn(5, 4, 7, dtype=torch.float64), torch.randn(2, 6, 7, dtype=torch.float64)
    codes = [sinkhorn(torch.cat([scores[view], queued[view]]))[:4] for view in range(2)]
    theirs = SwaVLoss()(list(scores[:2]), list(scores[2:]), list(queued)).squeeze()
    torch.testing.assert_close(swav_loss(scores, torch.stack(codes)), theirs, rtol=1e-9, atol=1e-12)


def test_dino_with_small_views() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(5, 4, 7, dtype=torch.float64), torch.randn(2, 4, 7, dtype=torch.float64)
    loss = DINOLoss(7, teacher_temp=0.05, warmup_teacher_temp=0.05, warmup_teacher_temp_epochs=1)
    centre = torch.randn(7)
    loss.center.copy_(centre.view_as(loss.center))
    centre = centre.double()
    theirs = loss(list(teacher), list(student), epoch=3)
    torch.testing.assert_close(dino_loss(student, teacher, centre, 0.1, 0.05), theirs, rtol=1e-6, atol=1e-7)


def test_vicregl_with_small_views() -> None:
    """With as many places in all views: the number of matches is one for all of them there."""
    method = narrow("vicregl")
    batch = some_batch("vicregl")
    crops = batch.crops[0], torch.rand(3, 6, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    out = {key: tensor.detach() for key, tensor in method.project(batch._replace(crops=crops)).items()}
    maps = torch.cat([out["maps"], out["small_maps"]], dim=1).unflatten(2, (4, 4))
    places = torch.cat([out["maps_places"], out["small_maps_places"]], dim=1).unflatten(2, (4, 4))
    features = [(out["wholes"][:, view], maps[:, view]) for view in range(5)]
    grids = [places[:, view] for view in range(5)]
    theirs = VICRegLLoss(num_matches=(6, 6))(features[:2], grids[:2], features[2:], grids[2:])
    torch.testing.assert_close(method.loss(out, MIDWAY)["loss"], theirs.squeeze(), rtol=1e-5, atol=1e-6)


HEADS: dict[str, tuple[Callable[[], nn.Module], Callable[[], nn.Module]]] = {
    "SimCLR": (lambda: Head(5, 7, 3, last=nn.BatchNorm1d(3)), lambda: SimCLRProjectionHead(5, 7, 3)),
    "MoCo": (lambda: Head(5, 7, 3, norm=False), lambda: MoCoProjectionHead(5, 7, 3)),
    "SimSiam": (
        lambda: Head(5, 7, 7, 7, last=nn.BatchNorm1d(7, affine=False)),
        lambda: SimSiamProjectionHead(5, 7, 7),
    ),
    "SimSiam's predictor": (lambda: Head(7, 2, 7), lambda: SimSiamPredictionHead(7, 2, 7)),
}


@pytest.mark.parametrize("name", HEADS)
def test_heads_hold_the_same_weights_by_the_same_names(name: str) -> None:
    """Milestones of the builds that took them from lightly are read into ours."""
    states = []
    for build in HEADS[name]:
        torch.manual_seed(0)
        states.append(build().state_dict())
    ours, theirs = states
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
