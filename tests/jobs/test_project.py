"""The MLflow Project as its user runs it: `mlflow run` in a real process, on a real server."""

import subprocess
import sys
import time
from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient
from PIL import Image

from sslmlflow import load_milestone
from sslmlflow.config import ENTRY_POINTS
from sslmlflow.config.main import Main
from sslmlflow.config.options import options_of
from sslmlflow.tracking.stored import deviations_of
from tests.conftest import ROOT, Command
from tests.jobs.small import SMALL, Left, left_in
from tests.mlflow_server import free_port, running_server

PARAMETERS = {argument.removeprefix("--").split("=")[0]: argument.split("=")[1] for argument in SMALL}
PARAMETERS |= {"epochs": "4", "milestone_every": "2", "probe": "plain"}


def mlflow_run(environment: dict[str, str], folder: Path, entry_point: str, **parameters: str) -> str:
    given = [word for name, value in parameters.items() for word in ("-P", f"{name}={value}")]
    done = subprocess.run(
        [sys.executable, "-m", "mlflow", "run", str(ROOT), "--env-manager", "local", "-e", entry_point, *given],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def check_main(left: Left, output: str) -> None:
    """What a user relies on after `mlflow run . -e main`."""
    run = left.run
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "simclr resnet18 on digit-scenes"
    for name, option in options_of(Main).items():
        if name not in PARAMETERS:
            text = run.data.params[name]
            assert option.read(text) == option.default, name
    assert {name: run.data.params[name] for name in PARAMETERS} == PARAMETERS
    assert run.data.params["resolved/schedule"] == "one-cycle"
    assert [m.params["epoch"] for m in left.milestones] == ["0", "2", "4"]
    assert [step for step, _ in left.history("train/loss")] == list(range(1, 13))
    for key in ("label_free/crr_adjusted", "early/crr", "labelled/linear_probe", "labelled/knn", "epoch"):
        assert [step for step, _ in left.history(key)] == [0, 2, 4], key
    for model in left.milestones:
        measured = {metric.key: metric.value for metric in model.metrics}
        assert measured["epoch"] == float(model.params["epoch"])
        assert {"label_free/crr", "label_free/rankme", "labelled/linear_probe_standardised"} <= measured.keys()
        assert 0 <= measured["labelled/knn"] <= 1
        assert len(deviations_of(model) or ()) == 100, "on the halves of which milestones are compared"
    assert "Chosen without labels: epoch" in output
    chosen = max(left.milestones, key=lambda m: {x.key: x.value for x in m.metrics}["label_free/crr_adjusted"])
    assert f"Chosen without labels: epoch {chosen.params['epoch']}," in run.data.tags["mlflow.note.content"]
    figures = {Path(item.path).stem for item in left.client.list_artifacts(run.info.run_id, "figures")}
    correlations = {"correlations_linear_probe", "correlations_linear_probe_standardised"}
    assert figures == {"views", "progress", "metrics", "entropy", "overfitting", "agreement", "spectra"} | correlations
    tables = {item.path for item in left.client.list_artifacts(run.info.run_id) if not item.is_dir}
    assert tables == {"report.md", "milestones.csv", "correlations.csv"}
    pictures = [Path(item.path).name for item in left.client.list_artifacts(run.info.run_id, "images")]
    for name in ("umap", "clusters", "neighbours", "outliers", "number_of_clusters"):
        steps = {picture.split("+")[2] for picture in pictures if picture.startswith(f"{name}+step+")}
        assert steps == {"0", "2", "4"}, name


@pytest.mark.slow
def test_mlflow_run_over_http(environment: dict[str, str], tmp_path: Path) -> None:
    with running_server(tmp_path, environment, free_port()) as server:
        environment["MLFLOW_TRACKING_URI"] = server
        output = mlflow_run(environment, tmp_path, "main", **PARAMETERS)
        left = left_in(server)
        check_main(left, output)
        milestone = load_milestone(left.milestones[-1].model_id)

    pixels = np.random.default_rng(0).integers(0, 256, (5, 1, 16, 16), dtype=np.uint8)
    embeddings = milestone.embed(pixels)
    assert embeddings.shape == (5, 32)
    # An image of the right size is the same image as a picture.
    pictures = milestone.embed([Image.fromarray(image[0]) for image in pixels])
    np.testing.assert_allclose(pictures, embeddings, rtol=1e-5, atol=1e-6)
    assert milestone.epoch == 4


@pytest.mark.slow
def test_evaluate_adds_to_milestones_once(sslmlflow: Command, environment: dict[str, str]) -> None:
    small = [*SMALL, "--epochs=2", "--milestone_every=1"]
    assert sslmlflow("pretrain", *small).returncode == 0
    uri = environment["MLFLOW_TRACKING_URI"]
    pretrained = left_in(uri)
    run_id = pretrained.run.info.run_id
    assert not any(metric.key.startswith("labelled/") for m in pretrained.milestones for metric in m.metrics)

    first = sslmlflow("evaluate", f"--run={run_id}", "--probe=plain")
    assert first.returncode == 0, first.stderr
    again = sslmlflow("evaluate", "--probe=plain")
    assert again.stdout.count("was evaluated with these settings") == 3
    other = sslmlflow("evaluate", f"--milestones={pretrained.milestones[1].model_id}", "--probe=autoaugment")
    assert other.stdout.count("linear probe") == 1

    client = MlflowClient(uri)
    for model in pretrained.milestones:
        measured = [m.key for m in client.get_logged_model(model.model_id).metrics]
        assert {"labelled/linear_probe", "early/knn", "time/knn_s", "labelled/ami_clusters_truth"} <= set(measured)
        assert {"label_free/entropy", "label_free/silhouette", "label_free/cluster_agreement"} <= set(measured)
    evaluations = [r for r in client.search_runs(["0"]) if r.data.tags.get("sslmlflow.evaluates") == run_id]
    assert len(evaluations) == 3
    assert {r.data.tags["mlflow.parentRunId"] for r in evaluations} == {run_id}
    unlabelled = sslmlflow("evaluate", f"--milestones={pretrained.milestones[0].model_id}", "--labels=none")
    assert "labels are left alone: no linear probe and no 5-NN" in unlabelled.stdout
    assert "entropy" in unlabelled.stdout


@pytest.mark.slow
def test_evaluate_follows_a_running_training(environment: dict[str, str], sslmlflow: Command, tmp_path: Path) -> None:
    training = subprocess.Popen(
        [sys.executable, "-m", "sslmlflow", "pretrain", *SMALL, "--epochs=20", "--milestone_every=5"],
        cwd=tmp_path,
        env=environment,
    )
    client = MlflowClient(environment["MLFLOW_TRACKING_URI"])
    for _ in range(300):
        if (tmp_path / "mlflow.db").exists() and client.search_logged_models(["0"], "tags.kind = 'milestone'"):
            break
        time.sleep(0.2)
    followed = sslmlflow("evaluate", "--follow=true", "--probe=plain")
    assert training.wait(300) == 0
    assert followed.returncode == 0, followed.stderr
    assert [line.split(":")[0].split()[1] for line in followed.stdout.splitlines() if "linear probe" in line] == [
        "0",
        "5",
        "10",
        "15",
        "20",
    ]


@pytest.mark.slow
def test_a_folder_without_labels_goes_all_the_way(
    sslmlflow: Command, environment: dict[str, str], tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    images = tmp_path / "images"
    images.mkdir()
    for i in range(80):
        Image.fromarray(random.integers(0, 256, (40, 36, 3), dtype=np.uint8)).save(images / f"{i}.png")
    (images / "broken.png").write_bytes(b"not an image")
    small = ["--width=4", "--batch_size=16", "--epochs=2", "--monitor_images=8"]
    command = ["main", "--dataset=folder", f"--data_dir={images}", *small]
    done = sslmlflow(*command)
    assert done.returncode == 1
    assert "broken.png" in done.stderr
    (images / "broken.png").unlink()
    done = sslmlflow(*command)
    assert done.returncode == 0, done.stderr
    assert "no labels" in done.stdout
    assert "Chosen without labels: epoch" in done.stdout
    assert "points" not in done.stdout


def test_entry_points_of_the_file_are_those_of_the_program() -> None:
    project = mlflow.projects._project_spec.load_project(str(ROOT))
    assert set(project._entry_points) == set(ENTRY_POINTS)
