"""Two processes take the same steps as one on the same images: gradients, parameters, queues, statistics and losses."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.distributed.pair import CASES, IN_HALF, embedded, evaluated, own_images, steps

ROUNDING = 3e-7  # of weights of about 1, from whose differences the gradients are computed


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What both processes of a pair found."""
    folder = tmp_path_factory.mktemp("pair")
    command = [sys.executable, "-m", "tests.distributed.pair"]
    processes = [subprocess.Popen([*command, str(number), str(folder)]) for number in range(2)]
    try:
        assert [process.wait(300) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
    return folder


@pytest.mark.parametrize("case", CASES)
def test_two_processes_do_what_one_does(pair: Path, case: str) -> None:
    first, second = (load_file(pair / f"{case}-{number}") for number in range(2))
    assert [key for key in first if not torch.equal(first[key], second[key])] == []
    alone = steps(case)
    assert first.keys() == alone.keys()
    gradients, expected = _first_gradients(first), _first_gradients(alone)
    assert (gradients - expected).abs().max() <= 1e-4 * expected.abs().max() + ROUNDING
    far = {key: _distance(first[key], tensor) for key, tensor in alone.items()}
    assert {key: distance for key, distance in far.items() if distance > 1e-4} == {}


@pytest.mark.parametrize("case", IN_HALF)
def test_two_processes_do_nearly_the_same_in_half_precision(pair: Path, case: str) -> None:
    first, second = (load_file(pair / f"{case}-{number}") for number in range(2))
    assert [key for key in first if not torch.equal(first[key], second[key])] == []
    gradients, expected = _first_gradients(first), _first_gradients(steps(case))
    assert (gradients - expected).abs().max() <= 0.1 * expected.abs().max()


def test_what_is_measured_is_embedded_by_both_to_the_bits_of_one(pair: Path) -> None:
    first, second = (load_file(pair / f"embedded-{number}") for number in range(2))
    alone = embedded()
    assert {key: tensor.shape[:2] for key, tensor in alone.items()}["last"] == (2, 37)
    assert [key for key, tensor in alone.items() if not torch.equal(first[key], tensor)] == []
    assert [key for key, tensor in alone.items() if not torch.equal(second[key], tensor)] == []


def test_an_evaluation_is_embedded_by_both_to_the_bits_of_one(pair: Path) -> None:
    both, alone = load_file(pair / "evaluated-0"), evaluated()
    assert {len(tensor) for tensor in alone.values()} == {20, 21}
    assert [key for key, tensor in alone.items() if not torch.equal(both[key], tensor)] == []


def test_a_milestone_embeds_in_each_process_what_it_is_given_there(pair: Path) -> None:
    for number in range(2):
        assert torch.equal(load_file(pair / f"own-{number}")["own"], own_images(number))


def _first_gradients(found: dict[str, Tensor]) -> Tensor:
    """How far the first step moved every weight."""
    weights = [
        key.removeprefix("start.") for key in sorted(found) if key.startswith("start.") and key.endswith("weight")
    ]
    return torch.cat([(found[f"0.method.{key}"] - found[f"start.{key}"]).flatten() for key in weights])


def _distance(found: Tensor, expected: Tensor) -> float:
    """Between tensors, as a share of the largest number, or of 0.001."""
    largest = expected.double().abs().max().item()
    return (found.double() - expected.double()).abs().max().item() / max(largest, 1e-3)
