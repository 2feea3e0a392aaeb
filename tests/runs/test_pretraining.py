"""What is refused before a training starts."""

from typing import Any

import pytest

from sslmlflow.config.pretrain import Pretrain
from sslmlflow.errors import ConfigError
from sslmlflow.runs.pretraining import prepare


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "byol", "optimiser": "adamw"}, "invalid value for optimiser: adamw .must be lars.*--lr"),
        ({"method": "vicregl", "rotate90": 0.5}, "views must not be rotated.*--rotate90=0"),
        ({"method": "vicregl", "encoder": "vit_b_16"}, "is not the mean of a feature map"),
        ({"method": "simclr", "local_crops": 2}, "invalid value for local_crops: 2"),
    ],
)
def test_what_a_method_cannot_train_on_is_refused_before_training(
    options: dict[str, Any], said: str, labels_refused: str
) -> None:
    given = {"image_size": 32, "max_train_images": 300, "max_test_images": 60, "width": 4, **options}
    with pytest.raises(ConfigError, match=said):
        prepare(Pretrain(**given))


def test_a_folder_without_the_data_set_that_reads_it_is_refused() -> None:
    with pytest.raises(ConfigError, match="Did you mean dataset=folder"):
        prepare(Pretrain(data_dir="/images"))
