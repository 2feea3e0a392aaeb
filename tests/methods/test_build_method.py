"""Methods by name: their papers' settings, what may be changed, and what is refused."""

import dataclasses

import pytest
import torch

from sslmlflow.config.methods import METHODS, read_method_options
from sslmlflow.errors import ConfigError
from sslmlflow.methods import build_method, method_class
from tests.encoders.tiny import tiny_encoder
from tests.methods.batch import batch_of
from tests.methods.narrow import OPTIONS

NARROW = {  # the first width is inside the heads, the second that of the projections
    "simclr": "hidden_width=24,projection_width=6",
    "simsiam": "bottleneck_width=24,projection_width=6",
    "moco-v2": "hidden_width=24,projection_width=6",
}


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("simsiam", {"projection_width": 2048, "bottleneck_width": 512}),
        ("simclr", {"temperature": 0.5, "hidden_width": 2048, "projection_width": 128}),
        (
            "moco-v2",
            {
                "temperature": 0.1,
                "queue_size": 4096,
                "key_momentum": 0.99,
                "hidden_width": 2048,
                "projection_width": 128,
            },
        ),
    ],
)
def test_the_defaults_are_the_papers(name: str, settings: dict[str, float]) -> None:
    assert dataclasses.asdict(read_method_options(name, "")) == settings


@pytest.mark.parametrize(
    ("name", "epochs", "lr", "weight_decay"),
    [("simclr", 1000, 0.5, 1e-4), ("simsiam", 800, 0.06, 5e-4), ("moco-v2", 800, 0.06, 5e-4)],
)
def test_the_recipes_are_the_papers(name: str, epochs: int, lr: float, weight_decay: float) -> None:
    recipe = method_class(name).recipe
    assert (recipe.epochs, recipe.lr, recipe.weight_decay, recipe.schedule) == (epochs, lr, weight_decay, "one-cycle")


def test_settings_are_read() -> None:
    options = read_method_options("moco-v2", " temperature=0.2, queue_size = 64 ,")
    assert dataclasses.asdict(options) == {
        **dataclasses.asdict(read_method_options("moco-v2", "")),
        "temperature": 0.2,
        "queue_size": 64,
    }


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("simclr", "temprature=0.2", "temprature is not a parameter here. Did you mean temperature?"),
        ("simclr", "queue_size=8", "queue_size is not a parameter here."),
        ("moco-v2", "queue=8", "queue is not a parameter here. Did you mean queue_size?"),
        ("simclr", "temperature=0", "temperature=0 is not possible. Allowed: a number above 0."),
        ("simclr", "temperature=nan", "temperature=nan is not possible."),
        ("moco-v2", "key_momentum=1.01", "Allowed: a number of at least 0 and at most 1."),
        ("moco-v2", "queue_size=0", "Allowed: a whole number of at least 1."),
        ("moco-v2", "temperature", "temperature has no value. Write name=value,name=value."),
        ("moco-v2", "temperature:0.1", "temperature:0.1 has no value."),
    ],
)
def test_what_is_not_possible_is_refused_by_name(name: str, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read_method_options(name, text)
    assert "method_options" in str(refused.value)
    assert said in str(refused.value)


@pytest.mark.parametrize("name", NARROW)
def test_the_widths_are_those_of_the_projector(name: str) -> None:
    method = build_method(name, NARROW[name], tiny_encoder(), seed=0)
    projections = method.project(batch_of(torch.randn(2, 4, 3, 8, 8)))
    assert {projection.shape[1] for projection in projections.values()} == {6}
    assert 24 in {parameter.shape[0] for parameter in method.parameters()}


@pytest.mark.parametrize("name", METHODS)
def test_the_seed_and_nothing_else_decides_the_heads(name: str) -> None:
    def heads(seed: int) -> dict[str, torch.Tensor]:
        method = build_method(name, OPTIONS[name], tiny_encoder(), seed)
        return {key: tensor for key, tensor in method.state_dict().items() if "encoder." not in key}

    torch.manual_seed(1)
    first = heads(5)
    torch.manual_seed(2)
    before = torch.random.get_rng_state()
    again, other = heads(5), heads(6)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(first[key], again[key]) for key in first)
    drawn = [key for key in first if first[key].ndim == 2]
    assert drawn
    assert not any(torch.equal(first[key], other[key]) for key in drawn)
