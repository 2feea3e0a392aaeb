"""Training goes through with every way to a label raising."""

from pathlib import Path

import mlflow
import pytest

from sslmlflow import data
from sslmlflow.cli import main
from sslmlflow.data import digit_scenes
from tests.jobs.small import SMALL, left_in


def test_pretraining_asks_for_no_label(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("a label was asked for")

    monkeypatch.setattr(data, "open_labels", refuse)
    monkeypatch.setattr(digit_scenes, "open_labels", refuse)
    monkeypatch.setitem(data.DATASETS, "digit-scenes", data.Dataset(digit_scenes.open_images, refuse))
    monkeypatch.setenv("SSLMLFLOW_HOME", str(tmp_path / "home"))
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    mlflow.set_tracking_uri(uri)
    assert main(["pretrain", *SMALL, "--epochs=1", "--milestone_every=1"]) == 0
    left = left_in(uri)
    assert [m.params["epoch"] for m in left.milestones] == ["0", "1"]
    assert "label_free/crr_adjusted" in {metric.key for metric in left.milestones[1].metrics}
