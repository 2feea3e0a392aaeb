"""Training goes through with every way to a label raising."""

import pytest

from sslmlflow.cli import main
from tests.jobs.small import SMALL, left_in


def test_pretraining_asks_for_no_label(labels_refused: str) -> None:
    assert main(["pretrain", *SMALL, "--epochs=1", "--milestone_every=1"]) == 0
    left = left_in(labels_refused)
    assert [m.params["epoch"] for m in left.milestones] == ["0", "1"]
    assert "label_free/crr_adjusted" in {metric.key for metric in left.milestones[1].metrics}


@pytest.mark.slow
def test_tuning_asks_for_no_label(labels_refused: str) -> None:
    assert main(["pretrain", *SMALL, "--epochs=1"]) == 0
    assert main(["umm", "--js_images=16", "--directions=4", "--epochs=1", "--milestone=best"]) == 0
