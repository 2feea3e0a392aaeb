"""What is refused before a training starts, and what of the parameters reaches it."""

from contextlib import closing
from typing import Any

import pytest

from sslmlflow.config.options import as_text
from sslmlflow.config.pretrain import Pretrain
from sslmlflow.errors import ConfigError
from sslmlflow.methods import method_class
from sslmlflow.metrics.catalogue import HELD_OUT_LOSS
from sslmlflow.runs.pretraining import prepare
from sslmlflow.training.loop import Epoch, train

SMALL: dict[str, Any] = {"image_size": 32, "max_train_images": 300, "max_test_images": 60, "width": 4}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "byol", "optimiser": "adamw"}, "invalid value for optimiser: adamw .must be lars.*--lr"),
        ({"method": "vicregl", "rotate90": 0.5}, "views must not be rotated.*--rotate90=0"),
        ({"method": "vicregl", "encoder": "vit_b_16"}, "is not the mean of a feature map"),
        ({"method": "simclr", "local_crops": 2}, "invalid value for local_crops: 2"),
        ({"method": "dino", "encoder": "vit_b_16", "local_crops": 2}, "local_crops: small views .*--local_crops=0"),
        (
            {"method": "simsiam", "crop_scale": 1.0, "jitter": 0.0, "hue": 0.0, "gray": 0.0, "hflip": 0.0},
            "both views of an image are the same",
        ),
    ],
)
def test_what_a_method_cannot_train_on_is_refused_before_training(
    options: dict[str, Any], said: str, labels_refused: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        prepare(Pretrain(**{**SMALL, **options}))


NARROW = {
    "byol": "hidden_width=16,projection_width=8",
    "barlow-twins": "hidden_width=16,projection_width=16",
    "vicreg": "hidden_width=16,projection_width=16",
    "vicregl": "hidden_width=16,projection_width=16,local_width=8",
    "swav": "hidden_width=16,projection_width=8,prototypes=10,queue_size=32",
    "dino": "hidden_width=16,bottleneck_width=8,prototypes=10",
}


@pytest.mark.parametrize("method", NARROW)
def test_what_is_given_reaches_the_training_of_a_resnet(method: str, labels_refused: str) -> None:
    recipe = method_class(method).recipe
    given = {"clip": 0.5, "weight_decay": 0.01, "weight_decay_end": 0.1, "warmup_epochs": 1, "batch_size": 64}
    more = {"local_crops": 2} if recipe.multi_crop else {}
    training = prepare(Pretrain(**SMALL, method=method, method_options=NARROW[method], epochs=2, **given, **more))
    settled = training.settled
    assert settled["resolved/lr"] == as_text(recipe.lr / 4)  # of batches of 256
    assert (settled["resolved/optimiser"], settled["resolved/clip"]) == (recipe.optimiser, "0.5")
    assert settled["resolved/views"].startswith("1x32px" if len(training.batches.views) > 1 + bool(more) else "2x32px")
    schedule = training.plan.schedule
    assert [round(schedule.at(step).weight_decay, 6) for step in (0, schedule.total_steps - 1)] == [0.01, 0.1]
    state = training.start()
    assert state.optimisers["main"].clip == 0.5
    with closing(training.batches):
        events = list(train(state, training.batches, training.plan, training.machine, training.take_step))
    assert [type(event) for event in events].count(Epoch) == 2
    assert state.step == training.plan.total_steps == 8
    measured = training.monitor.measure(state.method.measured, state.method).results
    assert {"label_free/crr", HELD_OUT_LOSS} <= set(measured.values), measured.undefined


def test_a_folder_without_the_data_set_that_reads_it_is_refused() -> None:
    with pytest.raises(ConfigError, match="Did you mean dataset=folder"):
        prepare(Pretrain(data_dir="/images"))
