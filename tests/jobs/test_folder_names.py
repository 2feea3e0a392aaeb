"""Runs on a folder carry its name, and those of earlier builds, which are all named `folder`, are read as before."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric

from sslmlflow.data import open_images
from sslmlflow.data.source import DatasetSpec
from sslmlflow.metrics.catalogue import KNN
from sslmlflow.reporting.history import history_of
from sslmlflow.tracking.stored import epoch_of, milestones_of_run
from tests.conftest import Command
from tests.data.test_folder import put_classes
from tests.jobs.small import left_in
from tests.stored import unpack

SMALL = [
    *("--width=4", "--image_size=16", "--batch_size=16", "--epochs=1", "--milestone_every=1"),
    "--method_options=hidden_width=16,projection_width=8",
]


def test_a_run_on_a_folder_carries_its_name_and_counts_near_copies_once(
    sslmlflow: Command, environment: dict[str, str], tmp_path: Path
) -> None:
    put_classes(tmp_path / "flowers" / "train", 10)
    put_classes(tmp_path / "flowers" / "valid", 6)
    put_classes(tmp_path / "flowers" / "test", 4)
    done = sslmlflow("pretrain", "--dataset=folder", "--data_dir=flowers", *SMALL)
    assert done.returncode == 0, done.stderr
    assert "flowers: 30 images to train on, 12 to score on, 18 to monitor on, 16 x 16, colour" in done.stdout
    assert "12 of 12 held-out images are also among the training images" in done.stdout
    left = left_in(environment["MLFLOW_TRACKING_URI"])
    assert left.run.info.run_name == "simclr resnet18 on flowers"
    assert [each.dataset.name for each in left.run.inputs.dataset_inputs] == ["flowers"]
    assert [epoch for epoch, key, _ in left.measured() if key == "data/near_copies"] == [0]
    kept = json.loads(next((tmp_path / "home").rglob("run.json")).read_text())
    assert len({kept[f"{use} images"] for use in ("training", "held-out", "monitored")}) == 3


def test_runs_on_a_folder_that_earlier_builds_made(sslmlflow: Command, tmp_path: Path) -> None:
    """Then every folder was called `folder`."""
    unpack("221782e", tmp_path / "stored")
    uri = f"sqlite:///{tmp_path}/stored/mlflow.db"
    with closing(sqlite3.connect(tmp_path / "stored" / "mlflow.db")) as database:
        query = "SELECT run_uuid FROM runs WHERE name LIKE 'moco-v2 % on folder' AND status = 'FINISHED'"
        ((run_id,),) = database.execute(query).fetchall()
    client = MlflowClient(uri)
    history = history_of(client, run_id)
    assert history.dataset == history.dataset_of(KNN) == "images"
    assert history.ways[KNN].dataset == "folder"
    # The same images are held out as by that build.
    spec = DatasetSpec("folder", tmp_path / "stored" / "images", False, 16, None, None)
    kept = json.loads((tmp_path / "stored" / "home" / "runs" / run_id / "run.json").read_text())
    assert open_images(spec, tmp_path / "cache").fingerprints.items() <= kept.items()
    # What is measured on the folder today counts as the training's own, too; what is on another data set does not.
    for name, value, epochs in (("images", 0.25, 1), ("cifar10", 0.75, 2)):
        other = client.create_run("0").info.run_id
        for model in milestones_of_run(client, run_id)[:epochs]:
            metric = Metric("label_free/new", value, 1, epoch_of(model), model.model_id, name, f"digest of {name}")
            client.log_batch(other, metrics=[metric])
    assert list(history_of(client, run_id).values["label_free/new"].values()) == [0.25]
    done = sslmlflow("report", f"--runs={run_id}", MLFLOW_TRACKING_URI=uri, SSLMLFLOW_HOME=f"{tmp_path}/stored/home")
    assert done.returncode == 0, done.stderr
    assert "on folder" not in done.stdout.replace("resnet18 on folder", "")
