"""What earlier builds left: it loads, reports and is evaluated; what is unfinished goes on exactly, or is refused."""

import csv
import re
from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import Run
from PIL import Image

from sslmlflow import load_milestone
from sslmlflow.tracking.stored import milestones_of_run
from tests.conftest import Command
from tests.stored import BUILDS, unpack
from tests.stored.make import MOCO, SIMCLR

pytestmark = pytest.mark.slow
METHODS = {"simclr": SIMCLR, "moco-v2": MOCO}
OLDEST, LATEST = "221782e", "beaeb04"  # of other views than today's, and of the same
PICTURES = [Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 24, 3)).astype(np.uint8))] * 2


@pytest.fixture(params=BUILDS)
def client(request: pytest.FixtureRequest, tmp_path: Path, environment: dict[str, str]) -> MlflowClient:
    """The store of a build, where the command line finds its home and its tracking server."""
    unpack(request.param, tmp_path)
    mlflow.set_tracking_uri(environment["MLFLOW_TRACKING_URI"])
    return MlflowClient()


def runs_of(client: MlflowClient, entry_point: str) -> list[Run]:
    """The runs of an entry point, earliest first."""
    of_entry_point = f"tags.`sslmlflow.entry_point` = '{entry_point}'"
    return list(client.search_runs(["0"], of_entry_point, order_by=["attributes.start_time ASC"]))


def trainings(client: MlflowClient, finished: bool = True) -> dict[str, str]:
    """The ids of the trainings by method: those that came to their end, or those that were interrupted."""
    found = runs_of(client, "pretrain")
    return {run.data.params["method"]: run.info.run_id for run in found if (run.info.status == "FINISHED") == finished}


def state(client: MlflowClient, folder: Path, run_id: str) -> tuple[object, dict[str, bytes]]:
    """All that a run is on the server, and the files that it has at home."""
    files = (path for path in (folder / "home" / "runs" / run_id).rglob("*") if path.is_file())
    return client.get_run(run_id).to_dictionary(), {str(path): path.read_bytes() for path in files}


def table(report: Run) -> set[tuple[str, ...]]:
    """The values of milestones in a report: training, epoch, metric, value."""
    text = Path(download_artifacts(f"{report.info.artifact_uri}/milestones.csv")).read_text()
    return {(row["run_id"], row["epoch"], row["metric"], row["value"]) for row in csv.DictReader(text.splitlines())}


def test_milestones_load_and_embed(client: MlflowClient) -> None:
    found = [model for run in client.search_runs(["0"]) for model in milestones_of_run(client, run.info.run_id)]
    assert len(found) >= 8
    for model in found:
        milestone = load_milestone(model.model_id)
        assert np.isfinite(milestone.embed(PICTURES).numpy()).all()
        options = dict(part.split("=") for part in milestone.about["method_options"].split(","))
        # What was not given is the default of that time, by the table of docs/methods.md.
        given = {"hidden_width": "32", "projection_width": "16"}
        moco = {"temperature": "0.1", "queue_size": "64", "key_momentum": "0.99"}
        assert options == {**given, **(moco if milestone.about["method"] == "moco-v2" else {"temperature": "0.5"})}


def test_the_report_gives_the_values_that_were_measured(client: MlflowClient, sslmlflow: Command) -> None:
    reported = sslmlflow("report", f"--runs={','.join(trainings(client).values())}")
    assert reported.returncode == 0, reported.stderr
    stored, now = map(table, runs_of(client, "report"))
    assert stored == now
    assert len(now) > 150


@pytest.mark.parametrize(("client", "method"), [(OLDEST, "simclr"), (LATEST, "moco-v2")], indirect=["client"])
def test_milestones_are_evaluated(client: MlflowClient, sslmlflow: Command, method: str) -> None:
    run_id = trainings(client)[method]
    done = sslmlflow("evaluate", f"--run={run_id}", "--labels=auto", "--probe=plain", "--clusters=2")
    assert done.returncode == 0, done.stderr
    for model in milestones_of_run(client, run_id):
        assert f"epoch {model.params['epoch']:>4}: AMI" in done.stdout
        assert "labelled/linear_probe" in {metric.key for metric in model.metrics or []}


@pytest.mark.parametrize(("client", "method"), [(OLDEST, "moco-v2"), (LATEST, "simclr")], indirect=["client"])
def test_milestones_are_tuned(client: MlflowClient, sslmlflow: Command, method: str) -> None:
    run_id = trainings(client)[method]
    tuned = sslmlflow("umm", f"--run={run_id}", "--epochs=1", "--js_images=8", "--precision=float32")
    assert tuned.returncode == 0, tuned.stderr
    last = milestones_of_run(client, runs_of(client, "umm")[-1].info.run_id)[-1]
    assert load_milestone(last.model_id).about["method_options"].count("=") == (5 if method == "moco-v2" else 3)


@pytest.mark.parametrize("client", [LATEST], indirect=True)
@pytest.mark.parametrize(("method", "loss"), [("simclr", 4.082784), ("moco-v2", 4.069742)])
def test_an_interrupted_training_goes_on(
    client: MlflowClient, sslmlflow: Command, tmp_path: Path, method: str, loss: float
) -> None:
    """To the loss that the build itself comes to, when it goes on with the same archive."""
    run_id = trainings(client, finished=False)[method]
    given = [text.replace("/stored/", f"{tmp_path}/") for text in METHODS[method]]
    resumed = sslmlflow("pretrain", *given, "--epochs=6", "--seed=1", f"--resume={run_id}")
    assert resumed.returncode == 0, resumed.stderr
    assert client.get_run(run_id).info.status == "FINISHED"
    losses = {metric.step: metric.value for metric in client.get_metric_history(run_id, "train/loss")}
    assert list(losses) == list(range(1, 19))
    assert losses[18] == pytest.approx(loss, rel=1e-3)
    assert [model.params["epoch"] for model in milestones_of_run(client, run_id)] == ["0", "3", "6"]


@pytest.mark.parametrize("client", [LATEST], indirect=True)
def test_a_study_goes_on(client: MlflowClient, sslmlflow: Command) -> None:
    """Found without its run by the same settings."""
    run_id = runs_of(client, "tune")[0].info.run_id
    settings = ["--epochs=1", "--trials=2", "--js_images=8", "--labels=none", "--precision=float32"]
    more = sslmlflow("tune", *settings, "--resume=auto")
    assert more.returncode == 0, more.stderr
    assert [run.info.run_id for run in runs_of(client, "tune")] == [run_id]
    assert "1 of 2 trials are done" in more.stdout


@pytest.mark.parametrize("client", [OLDEST], indirect=True)
@pytest.mark.parametrize("method", METHODS)
def test_an_interrupted_training_is_refused_by_the_rule_that_changed(
    client: MlflowClient, sslmlflow: Command, tmp_path: Path, method: str
) -> None:
    run_id = trainings(client, finished=False)[method]
    given = [text.replace("/stored/", f"{tmp_path}/") for text in METHODS[method]]
    before = state(client, tmp_path, run_id)
    resumed = sslmlflow("pretrain", *given, "--epochs=6", "--seed=1", f"--resume={run_id}")
    assert resumed.returncode == 1
    assert resumed.stderr.startswith(f"sslmlflow: run {run_id} cannot ")
    assert re.search("rule (for )?views.*version", resumed.stderr)
    assert "Traceback" not in resumed.stderr
    assert state(client, tmp_path, run_id) == before


@pytest.mark.parametrize("client", [OLDEST], indirect=True)
def test_a_study_is_refused_by_the_rule_that_changed(client: MlflowClient, sslmlflow: Command) -> None:
    run_id = runs_of(client, "tune")[0].info.run_id
    before = client.get_run(run_id).to_dictionary()
    settings = ["--epochs=1", "--trials=2", "--js_images=8", "--labels=none", "--precision=float32"]
    refused = sslmlflow("tune", *settings, f"--resume={run_id}")
    assert refused.returncode == 1
    assert re.search("study .* cannot .*rule (for )?views.*version", refused.stderr)
    assert "Traceback" not in refused.stderr
    assert client.get_run(run_id).to_dictionary() == before


@pytest.mark.parametrize("client", [OLDEST], indirect=True)
def test_what_a_killed_training_did_not_send_is_sent(client: MlflowClient, sslmlflow: Command) -> None:
    (run_id,) = [run.info.run_id for run in client.search_runs(["0"]) if run.info.status == "RUNNING"]
    assert "train/loss" not in client.get_run(run_id).data.metrics
    sent = sslmlflow("sync")
    assert sent.returncode == 0, sent.stderr
    losses = client.get_metric_history(run_id, "train/loss")
    assert [metric.step for metric in losses] == list(range(1, len(losses) + 1))
    assert len(losses) >= 9
    assert [model.params["epoch"] for model in milestones_of_run(client, run_id)] == ["0", "3"]
