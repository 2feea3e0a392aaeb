"""What the parameters of `umm` and the recipe of a training become."""

from dataclasses import fields

import pytest
import torch

from sslmlflow.config.umm import Umm
from sslmlflow.data.preprocess import Preprocessing
from sslmlflow.errors import ConfigError
from sslmlflow.milestone.milestone import Milestone
from sslmlflow.runs.umm import _plan, _recipe, _step
from sslmlflow.training.device import Machine
from sslmlflow.umm.objective import Weights
from sslmlflow.umm.step import Umm as UmmStep
from tests.encoders.tiny import tiny_encoder

CPU = Machine(torch.device("cpu"), "float32")
MILESTONE = Milestone(tiny_encoder(), Preprocessing(8, 3, (0.5,) * 3, (0.2,) * 3), 3, {}, {})
PARAMS = {
    "batch_size": "auto",
    "lr": "auto",
    "warmup_epochs": "2",
    "resolved/batch_size": "32",
    "resolved/milestone_every": "20",
    "resolved/lr": "0.4",
    "resolved/weight_decay": "0.001",
    "resolved/schedule": "warmup-cosine",
}


def test_every_parameter_reaches_the_step() -> None:
    weights = {
        "alpha": 0.3,
        "beta": 0.4,
        "eps": 0.6,
        "density": "frob",
        "directions": 3,
        "js_images": 5,
        "kappa": 0.9,
        "crr": "soft",
    }
    ways = {
        "variant": "simultaneous",
        "inner_lr": 0.7,
        "lr": 0.8,
        "hypergradient": "aid_cg",
        "terms": 9,
        "loss_curvature": True,
    }
    assert weights.keys() == {field.name for field in fields(Weights)}
    assert ways.keys() == {field.name for field in fields(UmmStep)} - {"weights"}
    assert _step(Umm(**weights, **ways)) == UmmStep(Weights(**weights), **ways)


def test_the_trainings_recipe_is_found_again_also_through_a_tuning() -> None:
    recipe = _recipe(PARAMS)
    assert recipe["batch_size"] == "32"
    assert recipe["warmup_epochs"] == "2"
    of_a_tuning = {"lr": "0.001", **{f"resolved/training_{name}": text for name, text in recipe.items()}}
    assert _recipe(of_a_tuning) == recipe
    assert (recipe["optimiser"], recipe["clip"], recipe["local_crops"]) == ("sgd", "0.0", "auto")  # of earlier builds
    chosen = {"resolved/optimiser": "lars", "blur": "0.3", "augmentation": "gray"}
    assert {name: text for name, text in _recipe({**PARAMS, **chosen}).items() if name in ("blur", "augmentation")} == {
        "blur": "0.3",
        "augmentation": "gray",
    }


def test_alternating_takes_the_trainings_schedule_with_its_warm_up() -> None:
    plan = _plan(Umm(variant="alternating", epochs=5), _recipe(PARAMS), 100)
    assert (plan.batch_size, plan.milestone_every) == (32, 20)
    assert [plan.schedule.at(step).lr for step in (0, 5)] == pytest.approx([0.4 / 6, 0.4])
    with pytest.raises(ConfigError, match="epochs=2 is not possible with variant=alternating"):
        _plan(Umm(variant="alternating", epochs=2), _recipe(PARAMS), 100)
    assert _plan(Umm(epochs=2), _recipe(PARAMS), 100).schedule.at(0).lr == Umm.lr
