"""MoCo's loss against Eq. 1 of the paper written out, its queue, and the encoder that follows."""

import copy
import math

import pytest
import torch
from torch import Tensor

from sslmlflow.methods import build_method
from sslmlflow.methods.moco import MoCo
from sslmlflow.training.device import Machine
from sslmlflow.training.optimisers import Optimising
from sslmlflow.training.schedules import Rates
from sslmlflow.training.step import ssl_step, start_state
from tests.encoders.tiny import tiny_encoder
from tests.methods.batch import MIDWAY, batch_of


def moco(options: str = "", seed: int = 0) -> MoCo:
    small = f"hidden_width=16,projection_width=8,queue_size=10,{options}"
    method = build_method("moco-v2", small, tiny_encoder(seed), seed)
    assert isinstance(method, MoCo)
    return method


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def unit(row: list[float]) -> list[float]:
    length = math.sqrt(sum(a * a for a in row))
    return [a / length for a in row]


def dot(u: list[float], v: list[float]) -> float:
    return sum(a * b for a, b in zip(u, v, strict=True))


def eq_1(query: Tensor, key: Tensor, negatives: Tensor, temperature: float) -> float:
    """He et al. 2020 (arXiv 1911.05722), Eq. 1: one positive and K negatives for each query."""
    total = 0.0
    for q, k in zip(query.tolist(), key.tolist(), strict=True):
        q = unit(q)
        positive = math.exp(dot(q, unit(k)) / temperature)
        denominator = positive
        for negative in negatives.tolist():
            denominator += math.exp(dot(q, negative) / temperature)
        total -= math.log(positive / denominator)
    return total / len(query)


def step(method: MoCo, keys: Tensor) -> None:
    method.after_step({"query": keys, "key": keys}, MIDWAY)


@pytest.mark.parametrize(("n", "queue", "temperature"), [(1, 1, 0.1), (4, 9, 0.1), (6, 3, 1.0), (3, 20, 0.07)])
def test_the_loss_is_eq_1(n: int, queue: int, temperature: float) -> None:
    query, key, negatives = 5 * numbers(n, 6), numbers(n, 6, seed=1), numbers(queue, 6, seed=2)
    negatives = torch.tensor([unit(row) for row in negatives.tolist()])
    method = moco(f"temperature={temperature}")
    method.queue = negatives.float()
    loss = method.loss({"query": query, "key": key}, MIDWAY)["loss"].item()
    # The loss is computed in float32: near 0 its error is that of numbers of size 1.
    assert loss == pytest.approx(eq_1(query, key, negatives, temperature), rel=1e-6, abs=1e-7)


def test_a_query_that_equals_its_key_and_is_orthogonal_to_the_queue_has_the_loss_of_the_closed_form() -> None:
    query = torch.eye(3, 12)
    method = moco("temperature=0.5")
    method.queue = torch.eye(12)[4:]
    loss = method.loss({"query": 2 * query, "key": 3 * query}, MIDWAY)["loss"].item()
    assert loss == pytest.approx(math.log(math.exp(2) + 8) - 2, rel=1e-6)


def test_the_queue_starts_with_random_keys_of_length_1() -> None:
    method = moco()
    torch.testing.assert_close(method.queue.norm(dim=1), torch.ones(10))
    assert len({tuple(row) for row in method.queue.tolist()}) == 10
    assert method.queue_position.item() == 0


def test_the_queue_is_a_ring() -> None:
    """The newest keys stand in the place of the oldest ones, in the order in which they came."""
    method = moco()
    ring = [row.tolist() for row in method.queue.double()]
    place = 0
    for number, count in enumerate((4, 3, 5, 10, 1, 9)):
        keys = numbers(count, 8, seed=number)
        step(method, keys)
        for row in keys.tolist():
            ring[place] = unit(row)
            place = (place + 1) % 10
        torch.testing.assert_close(method.queue, torch.tensor(ring))
        assert method.queue_position.item() == place


@pytest.mark.parametrize("count", [11, 20, 34])
def test_of_a_batch_larger_than_the_queue_the_last_keys_stay(count: int) -> None:
    method = moco()
    step(method, numbers(3, 8))
    keys = numbers(count, 8, seed=1)
    step(method, keys)
    kept = sorted(method.queue.tolist())
    torch.testing.assert_close(torch.tensor(kept), torch.tensor(sorted(unit(row) for row in keys[-10:].tolist())))
    newest = numbers(1, 8, seed=2)
    step(method, newest)
    oldest = torch.tensor(unit(keys[-10].tolist()))
    assert not torch.isclose(method.queue, oldest).all(dim=1).any()


def test_the_negatives_are_earlier_keys_only() -> None:
    method = moco()
    projections = method.project(batch_of(torch.randn(2, 4, 3, 8, 8)))
    before, loss = method.queue.clone(), method.loss(projections, MIDWAY)["loss"]
    method.after_step(projections, MIDWAY)
    assert not torch.equal(method.queue, before)
    expected = eq_1(projections["query"].detach(), projections["key"], before, 0.1)
    assert loss.item() == pytest.approx(expected, abs=1e-6)


def test_the_held_out_loss_is_eq_1_with_the_other_images_as_negatives_whatever_the_queue_holds() -> None:
    query, key = 5 * numbers(6, 8), numbers(6, 8, seed=1)
    each = []
    for place in range(6):
        others = torch.tensor([unit(row) for row in key[torch.arange(6) != place].tolist()])
        each.append(eq_1(query[place : place + 1], key[place : place + 1], others, 0.1))
    method = moco()
    found = method.held_out_loss({"query": query, "key": key}).item()
    assert found == pytest.approx(sum(each) / 6, rel=1e-6)
    step(method, numbers(10, 8, seed=2))
    assert method.held_out_loss({"query": query, "key": key}).item() == found


def train(method: MoCo, steps: int, first: int = 0) -> list[float]:
    state = start_state(method, Optimising())
    state.step = first
    losses = []
    for number in range(first, first + steps):
        batch = batch_of(numbers(2, 4, 3, 8, 8, seed=number).float())
        rates, machine = Rates(0.1, weight_decay=5e-4), Machine(torch.device("cpu"), "float32")
        losses.append(ssl_step(state, batch, MIDWAY, rates, machine).losses["loss"].item())
    return losses


def test_the_key_encoder_is_the_moving_average_of_the_parameters() -> None:
    method = moco("key_momentum=0.9")
    sides = [(method.encoder, method.key.encoder), (method.projector, method.key.projector)]
    average = [[p.detach().double() for p in side.parameters()] for side, _ in sides]
    for (_, follower), start in zip(sides, average, strict=True):
        assert all(torch.equal(p.double(), q) for p, q in zip(follower.parameters(), start, strict=True))
    for number in range(3):
        train(method, 1, first=number)
        for (leader, follower), old in zip(sides, average, strict=True):
            for i, parameter in enumerate(leader.parameters()):
                old[i] = 0.9 * old[i] + 0.1 * parameter.detach().double()
            for p, q in zip(follower.parameters(), old, strict=True):
                torch.testing.assert_close(p.double(), q, rtol=1e-5, atol=1e-7)
    # Its BatchNorm statistics are those of the keys that it saw itself.
    leader, follower = dict(method.encoder.named_buffers()), dict(method.key.encoder.named_buffers())
    assert not torch.allclose(leader["late.1.running_var"], follower["late.1.running_var"])
    assert follower["late.1.num_batches_tracked"].item() == 3


@pytest.mark.parametrize(("momentum", "follows"), [("0", True), ("1", False)])
def test_the_ends_of_the_momentum_are_a_copy_and_a_standstill(momentum: str, follows: bool) -> None:
    method = moco(f"key_momentum={momentum}")
    start = copy.deepcopy(list(method.key.encoder.parameters()))
    train(method, 1)
    leader = list(method.encoder.parameters())
    for now, then, led in zip(method.key.encoder.parameters(), start, leader, strict=True):
        assert torch.equal(now, led if follows else then)


def test_no_gradient_reaches_the_key_encoder_or_the_optimiser_of_it() -> None:
    method = moco()
    projections = method.project(batch_of(torch.randn(2, 4, 3, 8, 8)))
    assert projections["query"].requires_grad
    assert not projections["key"].requires_grad
    method.loss(projections, MIDWAY)["loss"].backward()
    followers = [*method.key.encoder.parameters(), *method.key.projector.parameters()]
    assert all(p.grad is None and not p.requires_grad for p in followers)
    trained = {id(p) for p in start_state(method, Optimising()).optimisers["main"].parameters.values()}
    assert trained == {id(p) for p in [*method.encoder.parameters(), *method.projector.parameters()]}


def test_the_views_go_to_query_and_key() -> None:
    method = moco().eval()
    views = torch.randn(2, 4, 3, 8, 8)
    with torch.no_grad():
        projections = method.project(batch_of(views))
        # At the start both encoders are the same.
        torch.testing.assert_close(projections["query"], method.projector(method.encoder(views[0])))
        torch.testing.assert_close(projections["key"], method.projector(method.encoder(views[1])))


def test_all_state_is_in_the_state_dict() -> None:
    method = moco()
    train(method, 3)
    other = moco(seed=1)
    assert not torch.equal(other.queue, method.queue)
    other.load_state_dict({name: tensor.clone() for name, tensor in method.state_dict().items()})
    assert torch.equal(other.queue, method.queue)
    assert other.queue_position.item() == method.queue_position.item() == 12 % 10
    # Without momentum from before, both go on alike.
    assert train(other, 2, first=3) == train(method, 2, first=3)
    assert all(
        torch.equal(a, b) for a, b in zip(other.state_dict().values(), method.state_dict().values(), strict=True)
    )
