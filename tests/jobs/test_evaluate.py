"""What `evaluate` measures on: the images that were held out, and no others."""

import platform
import time
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from PIL import Image

from sslmlflow.config.evaluate import Evaluate
from sslmlflow.jobs.evaluate import _models
from sslmlflow.tracking.liveness import HEARTBEAT, HOST
from sslmlflow.tracking.lock import run_folder
from tests.conftest import Command, NewDatabase
from tests.jobs.small import SMALL


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
def test_without_a_run_the_latest_training_that_was_not_deleted_is_meant(
    sslmlflow: Command, environment: dict[str, str]
) -> None:
    small = [*SMALL, "--epochs=1"]
    client = MlflowClient(environment["MLFLOW_TRACKING_URI"])
    assert sslmlflow("pretrain", *small).returncode == 0
    (kept,) = client.search_runs(["0"])
    assert sslmlflow("pretrain", *small, "--seed=1").returncode == 0
    client.delete_run(client.search_runs(["0"], order_by=["start_time DESC"])[0].info.run_id)
    done = sslmlflow("evaluate", "--probe=plain")
    assert done.returncode == 0, done.stderr
    evaluation = client.search_runs(["0"], f"tags.`sslmlflow.evaluates` = '{kept.info.run_id}'")
    assert len(evaluation) == 1
    client.delete_run(evaluation[0].info.run_id)
    again = sslmlflow("evaluate", "--probe=plain", "--sgd_probe=true")
    assert "was evaluated" not in again.stdout, "what a deleted run measured is measured again"
    assert "SGD probe " in again.stdout
    assert "SGD probe, top-5 " in again.stdout


def test_following_ends_with_the_training_and_passes_over_what_it_did_not_keep(
    tmp_path: Path, new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SSLMLFLOW_HOME", str(tmp_path / "home"))
    client = MlflowClient(new_database(tmp_path))
    tags = {HEARTBEAT: str(int(time.time())), HOST: platform.node()}
    run_id = client.create_run("0", tags=tags).info.run_id
    run_folder(run_id).mkdir(parents=True)
    (run_folder(run_id) / "lock").touch()  # of a process that died
    made = []
    for epoch in range(3):
        given = {"params": {"epoch": str(epoch)}, "tags": {"kind": "milestone"}, "source_run_id": run_id}
        model = client.create_logged_model("0", f"epoch-{epoch}", **given)
        made.append(client.finalize_logged_model(model.model_id, "READY").model_id)
    following = _models(client, Evaluate(run=run_id, follow=True), run_id)
    assert next(following).model_id == made[0]
    client.delete_logged_model(made[1])
    assert [model.model_id for model in following] == [made[2]]
    assert "epoch 1 was not kept and is left out" in capsys.readouterr().out
    assert client.get_run(run_id).info.status == "KILLED"
