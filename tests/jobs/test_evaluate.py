"""What `evaluate` measures on: the images that were held out, and no others."""

from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from PIL import Image

from sslmlflow.tracking.milestones import milestones_of_run
from sslmlflow.tracking.values import ways_of
from tests.conftest import Command
from tests.jobs.small import SMALL, left_in


def _draw_images(folder: Path, count: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    for name, level in (("dark", 40), ("bright", 160)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            pixels = random.integers(level, level + 60, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{seed}-{i}.png")


@pytest.mark.slow
def test_a_folder_that_grew_is_refused(sslmlflow: Command, tmp_path: Path) -> None:
    images = tmp_path / "images"
    _draw_images(images, 40, seed=0)
    small = ["--width=4", "--batch_size=16", "--epochs=1", "--monitor_images=8"]
    assert sslmlflow("pretrain", "--dataset=folder", f"--data_dir={images}", *small).returncode == 0
    done = sslmlflow("evaluate", "--probe=plain", "--max_train_images=40")
    assert done.returncode == 0, done.stderr
    assert "linear probe" in done.stdout

    _draw_images(images, 5, seed=1)
    refused = sslmlflow("evaluate", "--probe=plain", "--evaluation_seed=1")
    assert refused.returncode == 1
    assert "the training images are not those that milestone" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.slow
def test_values_of_different_ways_are_never_mixed(sslmlflow: Command, environment: dict[str, str]) -> None:
    assert sslmlflow("pretrain", *SMALL, "--epochs=2", "--milestone_every=1").returncode == 0
    left = left_in(environment["MLFLOW_TRACKING_URI"])
    last = left.milestones[-1].model_id
    assert sslmlflow("evaluate", f"--run={left.run.info.run_id}", "--probe=plain").returncode == 0
    assert sslmlflow("evaluate", f"--milestones={last}", "--probe=plain", "--max_test_images=37").returncode == 0

    client = MlflowClient(environment["MLFLOW_TRACKING_URI"])
    milestones = milestones_of_run(client, left.run.info.run_id)
    both = {m.dataset_digest: m.value for m in milestones[-1].metrics if m.key == "labelled/knn"}
    (on_all,) = {m.dataset_digest for m in milestones[0].metrics if m.key == "labelled/knn"}
    assert len(both) == 2
    way = ways_of(client, milestones, "digit-scenes")["labelled/knn"]
    assert (sorted(way.values), way.digest) == ([0, 1, 2], on_all)
    assert way.values[2] == both[on_all]

    # Where both ways cover as much, the later one is meant.
    assert sslmlflow("evaluate", f"--run={left.run.info.run_id}", "--max_test_images=50").returncode == 0
    milestones = milestones_of_run(client, left.run.info.run_id)
    later = ways_of(client, milestones, "digit-scenes")["labelled/knn"]
    assert later.digest not in both
    assert sorted(later.values) == [0, 1, 2]
