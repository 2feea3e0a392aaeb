"""Losses and heads against those of lightly, which others use: values, gradients, and how weights are drawn."""

from collections.abc import Callable

import pytest
import torch
from lightly.loss import NegativeCosineSimilarity, NTXentLoss
from lightly.models.modules.heads import (
    MoCoProjectionHead,
    SimCLRProjectionHead,
    SimSiamPredictionHead,
    SimSiamProjectionHead,
)
from torch import Tensor, nn

from sslmlflow.methods.heads import Head
from sslmlflow.methods.moco import info_nce
from sslmlflow.methods.simclr import nt_xent
from sslmlflow.methods.simsiam import negative_cosine

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
