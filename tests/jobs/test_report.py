"""The report: its numbers against SciPy on values read back from MLflow, and what it says of the choice."""

import csv
from pathlib import Path
from statistics import median

import pytest
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from scipy import stats

from tests.conftest import Command
from tests.jobs.small import SMALL

TRAINING = [*SMALL, "--epochs=4", "--milestone_every=1"]


def _rows(client: MlflowClient, run_id: str, name: str, folder: Path) -> list[dict[str, str]]:
    artifact = download_artifacts(f"{client.get_run(run_id).info.artifact_uri}/{name}", dst_path=str(folder))
    with open(artifact, newline="") as file:
        return list(csv.DictReader(file))


def _lines(client: MlflowClient, run_id: str, folder: Path, *holding: str) -> list[str]:
    """The lines of report.md that hold any of these."""
    report = download_artifacts(f"{client.get_run(run_id).info.artifact_uri}/report.md", dst_path=str(folder))
    return [line for line in Path(report).read_text().splitlines() if any(text in line for text in holding)]


def _of_milestones(client: MlflowClient, run_id: str, key: str) -> list[float]:
    """A metric of a run's milestones by epoch, as the MLflow UI shows it."""
    models = client.search_logged_models(["0"], f"source_run_id = '{run_id}'")
    models = sorted(models, key=lambda model: int(model.params["epoch"]))
    return [value for model in models for value in {m.value for m in model.metrics if m.key == key}]


@pytest.mark.slow
def test_report_on_two_trainings(sslmlflow: Command, environment: dict[str, str], tmp_path: Path) -> None:
    done = sslmlflow("main", *TRAINING, "--probe=plain")
    assert done.returncode == 0, done.stderr
    assert sslmlflow("pretrain", *TRAINING, "--seed=1").returncode == 0
    done = sslmlflow("report")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Chosen without labels: epoch") == 2

    client = MlflowClient(environment["MLFLOW_TRACKING_URI"])
    reports = client.search_runs(["0"], "tags.`sslmlflow.entry_point` = 'report'")
    (training,) = (run.info.run_id for run in client.search_runs(["0"], "tags.`sslmlflow.entry_point` = 'main'"))
    assert len(reports) == 1
    rows = _rows(client, reports[0].info.run_id, "correlations.csv", tmp_path)
    assert {row["run_id"] for row in rows} == {training}, "the other has no accuracies"
    milestones = _rows(client, reports[0].info.run_id, "milestones.csv", tmp_path)
    assert len({row["run"] for row in milestones}) == 2, "runs of one name are told apart"
    metrics = {row["metric"] for row in rows}
    assert {"label_free/entropy", "label_free/crr_adjusted", "labelled/ami_clusters_truth"} <= metrics
    compared = 0
    for row in rows:
        skipped = 0 if row["init"] == "with init" else 1
        metric = _of_milestones(client, row["run_id"], row["metric"])[skipped:]
        probe = _of_milestones(client, row["run_id"], row["probe"])[skipped:]
        assert int(row["n"]) == len(probe) == 5 - skipped
        assert (float(row["probe_min"]), float(row["probe_max"])) == (min(probe), max(probe))
        if row["undefined"]:
            assert len(set(metric)) == 1 or len(set(probe)) == 1
            continue
        expected = stats.pearsonr(metric, probe)
        assert float(row["r"]) == pytest.approx(expected.statistic, abs=1e-9)
        assert float(row["p"]) == pytest.approx(expected.pvalue, abs=1e-9)
        compared += 1
    assert compared >= 20

    overfitting = _lines(client, reports[0].info.run_id, tmp_path, "| early |", "| last |")
    for line, prefix, metric in zip(overfitting, ("early", "labelled"), ("early/crr", "label_free/crr"), strict=True):
        probe = _of_milestones(client, training, f"{prefix}/linear_probe_standardised")
        r = stats.pearsonr(_of_milestones(client, training, metric), probe).statistic
        assert f"| {r:.2f}" in line
        assert f"| 5 | {min(probe):.1%} to {max(probe):.1%} |" in line
    for epoch, taken in enumerate(_of_milestones(client, training, "time/crr_s")):
        assert 0 < taken < _of_milestones(client, training, "time/label_free_s")[epoch]
    (seconds,) = _lines(client, reports[0].info.run_id, tmp_path, " | pair CRR | ")
    needed = [_of_milestones(client, training, f"time/{what}_s") for what in ("crr", "embed_views")]
    assert f"| {median(needed[0]):.3g} | {median(map(sum, zip(*needed, strict=True))):.3g} |" in seconds
    figures = {file.path for file in client.list_artifacts(reports[0].info.run_id, "figures")}
    assert {f"figures/overfitting_{row['run_id'][:8]}.png" for row in milestones} <= figures, "also without labels"

    best = client.get_run(training).data.metrics
    for key, better in (("label_free/crr_adjusted", max), ("labelled/knn", max), ("label_free/entropy", min)):
        values = _of_milestones(client, training, key)
        assert best[f"best/{key}"] == better(values)
        assert best[f"best/{key}_epoch"] == values.index(better(values))

    one = sslmlflow("report", f"--runs={training}", "--criterion=label_free/rankme")
    assert one.returncode == 0, one.stderr
    assert "This criterion has no interval" in one.stdout
    values = _of_milestones(client, training, "label_free/rankme")
    assert f"Chosen without labels: epoch {values.index(max(values))}, the highest RankMe" in one.stdout


@pytest.mark.slow
def test_what_there_is_no_report_on(sslmlflow: Command) -> None:
    nothing = sslmlflow("report")
    assert nothing.returncode == 1
    assert "there are no milestones in experiment Default of sqlite://" in nothing.stderr
    unknown = sslmlflow("report", "--runs=abc")
    assert unknown.returncode == 1
    assert "run abc is not on the tracking server" in unknown.stderr
    wrong = sslmlflow("report", "--criterion=labelled/knn")
    assert wrong.returncode == 2
    assert "criterion=labelled/knn is not possible" in wrong.stderr
