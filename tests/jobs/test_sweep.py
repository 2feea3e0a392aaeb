"""A sweep as its user runs it, with weights of our own in the place of published ones."""

import csv
import pickle
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch
import torchvision
from mlflow import MlflowClient
from mlflow.artifacts import load_text
from mlflow.entities import Run
from scipy import stats

import sslmlflow.jobs.sweep as sweep_job
from sslmlflow.cli import main
from sslmlflow.encoders.pretrained import published_weights
from sslmlflow.metrics.catalogue import AMI_TRUTH, ENTROPY, PROBE
from sslmlflow.tracking.logged_models import load_milestone
from tests.conftest import Command

pytestmark = pytest.mark.slow
SMALL = ["--image_size=64", "--max_train_images=80", "--max_test_images=40", "--monitor_images=20", "--probe=plain"]
NAMES = ("squeezenet1_0", "squeezenet1_1", "mobilenet_v3_small", "resnet18")


def place(environment: dict[str, str], *names: str, broken: bytes | None = None) -> None:
    """Put weights drawn here where torch caches published ones."""
    for name in names:
        file = Path(environment["TORCH_HOME"]) / "hub/checkpoints" / published_weights(name).url.rpartition("/")[2]
        file.parent.mkdir(parents=True, exist_ok=True)
        if broken is not None:
            file.write_bytes(broken)
            continue
        torch.manual_seed(NAMES.index(name))
        torch.save(torchvision.models.get_model(name, weights=None).state_dict(), file)


@pytest.fixture
def environment(environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    environment["TORCH_HOME"] = str(tmp_path / "torch")
    mlflow.set_tracking_uri(environment["MLFLOW_TRACKING_URI"])
    return environment


def runs(environment: dict[str, str], entry_point: str) -> tuple[MlflowClient, list[Run]]:
    client = MlflowClient(environment["MLFLOW_TRACKING_URI"])
    found = client.search_runs(["0"], f"tags.`sslmlflow.entry_point` = '{entry_point}'", order_by=["start_time ASC"])
    return client, list(found)


def test_models_are_measured_once_and_one_that_fails_does_not_stop_the_others(
    sslmlflow: Command, environment: dict[str, str]
) -> None:
    place(environment, "squeezenet1_1", "mobilenet_v3_small")
    sweep = ["sweep", "--models=squeezenet1_1,squeezenet1_0,mobilenet_v3_small,resnet18", *SMALL]
    first = sslmlflow(*sweep)
    assert first.returncode == 1
    assert "2 of 4 models could not be measured" in first.stderr
    assert "the weights of squeezenet1_0 cannot be had from https://" in first.stderr
    assert "Traceback" not in first.stderr
    client, (parent,) = runs(environment, "sweep")
    _, children = runs(environment, "swept")
    assert {run.info.run_name: run.info.status for run in children} == {
        "squeezenet1_1": "FINISHED",
        "squeezenet1_0": "FAILED",
        "mobilenet_v3_small": "FINISHED",
        "resnet18": "FAILED",
    }
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert children[0].data.params["resolved/weights"] == "SqueezeNet1_1_Weights.IMAGENET1K_V1"
    assert "Failed: the weights of squeezenet1_0 cannot" in children[1].data.tags["mlflow.note.content"]
    assert "* squeezenet1_0: the weights of" in parent.data.tags["mlflow.note.content"]
    assert "Correlations across models need 3 of them at least." in parent.data.tags["mlflow.note.content"]
    assert first.stdout.count("is not the file that is published under this name") == 2, "they are of our own making"
    another = client.create_run("0").info.run_id
    for asked, said in [
        (children[0].info.run_id, f"Models are reported together, by --runs={parent.info.run_id}."),
        (f"{parent.info.run_id},{another}", "a sweep is reported alone, by --runs="),
        ("auto", "a sweep is reported by --runs=ID of its run"),
    ]:
        refused = sslmlflow("report", f"--runs={asked}")
        assert refused.returncode == 1
        assert said in refused.stderr

    place(environment, "squeezenet1_0", "resnet18")
    second = sslmlflow(*sweep, "--resume=auto")
    assert second.returncode == 0, second.stderr
    assert second.stdout.count("was measured before") == 2
    _, (parent,) = runs(environment, "sweep")
    assert parent.info.status == "FINISHED"
    _, children = runs(environment, "swept")
    assert {run.info.run_name: run.info.status for run in children} == dict.fromkeys(NAMES, "FINISHED")
    assert len(children) == 4, "a failed one goes on in its run"

    check_table(client, parent, children)
    reported = sslmlflow("report", f"--runs={parent.info.run_id}")
    assert reported.returncode == 0, reported.stderr
    table = [line for line in second.stdout.splitlines() if line.startswith("|")]
    assert [line for line in reported.stdout.splitlines() if line.startswith("|")] == table
    assert len([line for line in table if "Pearson's r" in line]) == 2
    assert "* p < 0.05" in reported.stdout
    _, (report,) = runs(environment, "report")
    assert "figures/entropy.png" in {file.path for file in client.list_artifacts(report.info.run_id, "figures")}


def check_table(client: MlflowClient, parent: Run, children: list[Run]) -> None:
    """Every r is SciPy's, of what MLflow has of the models."""
    values: dict[str, dict[str, float]] = {}
    for run in children:
        (model,) = client.search_logged_models(["0"], f"source_run_id = '{run.info.run_id}'")
        values[run.info.run_name] = {metric.key: metric.value for metric in model.metrics}
        d = {"squeezenet1_0": 512, "squeezenet1_1": 512, "mobilenet_v3_small": 1024, "resnet18": 512}
        measured = values[run.info.run_name]
        assert measured["label_free/crr_adjusted_per_dimension"] == pytest.approx(
            measured["label_free/crr_adjusted"] / d[run.info.run_name]
        )
    rows = list(csv.DictReader(load_text(f"{parent.info.artifact_uri}/transfer_linear_probe.csv").splitlines()))
    assert {row["models"] for row in rows} == {"all models"}, "an architecture of one or two models has no r"
    assert {AMI_TRUTH, ENTROPY, "label_free/crr_U", "label_free/crr_A"} < {row["metric"] for row in rows}
    for row in rows:
        x, y = ([values[name][key] for name in NAMES] for key in (row["metric"], PROBE))
        expected = stats.pearsonr(x, y)
        assert float(row["r"]) == pytest.approx(expected.statistic)
        assert float(row["p"]) == pytest.approx(expected.pvalue)
        assert row["n"] == "4"


def test_embeddings_are_those_of_the_published_model(sslmlflow: Command, environment: dict[str, str]) -> None:
    place(environment, "resnet18")
    done = sslmlflow("sweep", "--models=resnet18", *SMALL, "--labels=none")
    assert done.returncode == 0, done.stderr
    _, (child,) = runs(environment, "swept")
    client = MlflowClient()
    (model,) = client.search_logged_models(["0"], f"source_run_id = '{child.info.run_id}'")
    torch.hub.set_dir(f"{environment['TORCH_HOME']}/hub")
    milestone = load_milestone(model.model_id)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 1, 32, 32), dtype=np.uint8)
    weights = published_weights("resnet18")
    ours: Any = torchvision.models.get_model("resnet18", weights=weights).eval()
    ours.fc = torch.nn.Identity()
    gray = torch.from_numpy(pixels).float().expand(-1, 3, -1, -1) / 255
    mean, std = (torch.tensor(part)[:, None, None] for part in (weights.transforms().mean, weights.transforms().std))
    larger = torch.nn.functional.interpolate((gray - mean) / std, (64, 64), mode="bilinear", antialias=True)
    with torch.no_grad():
        expected = ours(larger)
    assert torch.allclose(milestone.embed(pixels), expected, atol=1e-4)


class Hostile:
    """What a pickle can do."""

    def __reduce__(self) -> Any:
        return (open, (self.marker, "w"))

    def __init__(self, marker: str) -> None:
        self.marker = marker


@pytest.mark.parametrize("broken", ["empty", "text", "hostile"])
def test_a_broken_file_in_the_cache_is_told_and_never_run(
    sslmlflow: Command, environment: dict[str, str], tmp_path: Path, broken: str
) -> None:
    marker = tmp_path / "it ran"
    contents = {"empty": b"", "text": b"404 not found", "hostile": pickle.dumps(Hostile(str(marker)))}
    place(environment, "squeezenet1_1", broken=contents[broken])
    failed = sslmlflow("sweep", "--models=squeezenet1_1", *SMALL)
    assert failed.returncode == 1
    assert "the weights of squeezenet1_1 in torch's cache cannot be read or do not fit" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert not marker.exists()


def test_random_weights_never_enter_the_correlations(sslmlflow: Command, environment: dict[str, str]) -> None:
    models = "--models=squeezenet1_0,squeezenet1_1,timm/test_vit"
    done = sslmlflow("sweep", models, *SMALL, "--weights=random")
    assert done.returncode == 0, done.stderr
    assert "\n| timm/test_vit |" in done.stdout
    assert "3 without published weights, which enter no correlation." in done.stdout
    assert "Pearson" not in done.stdout
    client, (parent,) = runs(environment, "sweep")
    assert {file.path for file in client.list_artifacts(parent.info.run_id)} == {"sweep.md"}


def test_a_model_that_memory_does_not_hold_is_told(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("SSLMLFLOW_HOME", "TORCH_HOME"):
        monkeypatch.setenv(name, environment[name])
    build = sweep_job.build_encoder

    def too_large(spec: Any, seed: int) -> Any:
        if spec.name == "squeezenet1_0":
            torch.empty(2**60)  # what torch says where memory is out
        return build(spec, seed)

    monkeypatch.setattr(sweep_job, "build_encoder", too_large)
    given = ["sweep", "--models=squeezenet1_0,squeezenet1_1", *SMALL, "--weights=random", "--labels=none"]
    assert main(given) == 1
    assert "squeezenet1_0: out of memory with batch_size=48: give a smaller one." in capsys.readouterr().err
    _, children = runs(environment, "swept")
    assert [run.info.status for run in children] == ["FAILED", "FINISHED"]


def test_mistakes_are_told_in_words(sslmlflow: Command, environment: dict[str, str]) -> None:
    for arguments, said in [
        (
            ["--models=resnet19"],
            "models=resnet19 is not possible: resnet19 is not a model of torchvision. Did you mean",
        ),
        (["--models=timm/vit_smal_patch16_224.dino"], "Did you mean timm/vit_small_patch16_224.dino?"),
        (["--dataset=folder"], "invalid value for data_dir: auto"),
        (["--models=,"], "models=, is not possible. Allowed: auto, or names separated by commas."),
        (["--weights=imagenet"], "weights=imagenet is not possible"),
        (["--probe_lr=0"], "probe_lr=0 is not possible. Allowed: a number above 0."),
    ]:
        refused = sslmlflow("sweep", *arguments)
        assert refused.returncode == 2
        assert said in refused.stderr
    assert runs(environment, "sweep")[1] == []
