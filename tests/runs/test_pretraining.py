"""What is refused before a training starts."""

import pytest

from sslmlflow.config.pretrain import Pretrain
from sslmlflow.errors import ConfigError
from sslmlflow.runs.pretraining import prepare


def test_a_folder_without_the_data_set_that_reads_it_is_refused() -> None:
    with pytest.raises(ConfigError, match="Did you mean dataset=folder"):
        prepare(Pretrain(data_dir="/images"))
