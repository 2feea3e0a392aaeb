"""A report on many runs: what it asks of the server, what it loads, and what it shows of more than can be looked at."""

import csv
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.artifacts import load_text

from benchmarks.report_scale import make_store
from sslmlflow.config.evaluate import Evaluate
from sslmlflow.config.report import Report
from sslmlflow.jobs.evaluate import _source_run
from sslmlflow.reporting.history import histories_of
from sslmlflow.reporting.overview import MANY
from sslmlflow.reporting.report import report
from sslmlflow.reporting.trainings import TRAININGS, training_histories
from sslmlflow.runs.start import latest_run
from sslmlflow.tracking.run import tracked_run
from tests.conftest import NewDatabase

Made = Callable[[Path, int, int], str]


@pytest.fixture
def made(new_database: NewDatabase) -> Made:
    """Make a store of so many runs with so many milestones in a folder."""

    def make(folder: Path, runs: int, milestones: int) -> str:
        new_database(folder)
        return make_store(folder, runs, milestones)

    return make


class Asked:
    """Counts what is asked of the tracking store: over HTTP each is one request."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.counts: Counter[str] = Counter()
        for name in ("search_logged_models", "search_runs", "get_run", "get_logged_model"):
            monkeypatch.setattr(MlflowClient, name, self._counting(name, getattr(MlflowClient, name)))

    def _counting(self, name, ask):  # type: ignore[no-untyped-def]
        def counted(client, *arguments, **named):  # type: ignore[no-untyped-def]
            self.counts[name] += 1
            return ask(client, *arguments, **named)

        return counted


@pytest.mark.parametrize(("runs", "milestones"), [(4, 2), (24, 2), (4, 12)])
def test_requests_grow_with_pages_not_with_runs_and_milestones(
    runs: int, milestones: int, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = MlflowClient(made(tmp_path, runs, milestones))
    asked = Asked(monkeypatch)
    histories = training_histories(client)
    assert [len(history.models) for history in histories] == [milestones] * runs
    assert all(history.has("label_free/crr_adjusted") and history.has("labelled/knn") for history in histories)
    assert asked.counts["get_run"] == 0
    assert asked.counts.total() <= 5, asked.counts


def test_values_are_those_that_were_stored(made: Made, tmp_path: Path) -> None:
    client = MlflowClient(made(tmp_path, 2, 3))
    for history in training_histories(client):
        for model, epoch in zip(history.models, history.epochs, strict=True):
            stored = client.get_logged_model(model.model_id)
            assert {metric.key: metric.value for metric in stored.metrics} == {
                key: way.values[epoch] for key, way in history.ways.items()
            }


def test_of_many_runs_there_is_one_table_and_every_value_but_no_figure(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SSLMLFLOW_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    uri = made(tmp_path, MANY + 1, 2)
    mlflow.set_tracking_uri(uri)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    client = MlflowClient(uri)
    with tracked_run("report", Report(), "report") as tracked:
        report(tracked, training_histories(client), Report())
    files = {file.path for file in client.list_artifacts(tracked.run_id)}
    assert files == {"report.md", "trainings.csv", "milestones.csv"}
    artifacts = client.get_run(tracked.run_id).info.artifact_uri
    rows = list(csv.DictReader(load_text(f"{artifacts}/trainings.csv").splitlines()))
    assert [row["run"] for row in rows] == [f"simclr {number}" for number in range(MANY + 1)]
    for row, history in zip(rows, training_histories(client), strict=True):
        values = history.values["label_free/crr_adjusted"]
        assert float(row["label_free/crr_adjusted"]) == max(values.values()) == values[int(row["chosen_epoch"])]
        accuracies = history.values["labelled/linear_probe_standardised"]
        best = max(accuracies.values())
        assert float(row["lost_by_last"]) == pytest.approx(100 * (best - accuracies[max(accuracies)]))
        assert float(row["lost_at_random"]) == pytest.approx(100 * (best - sum(accuracies.values()) / len(accuracies)))
    assert f"with at most {MANY}" in capsys.readouterr().out


def test_a_report_loads_no_torch() -> None:
    code = "import sys, sslmlflow.jobs.report; print({'torch', 'lightly', 'timm', 'umap'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_auto_takes_the_latest_finished_run_and_names_it(
    tmp_path: Path, new_database: NewDatabase, capsys: pytest.CaptureFixture[str]
) -> None:
    client = MlflowClient(new_database(tmp_path))
    hours_ago = {"finished": 30, "failed": 20, "empty": 10, "running": 2}
    runs = {}
    for name, hours in hours_ago.items():
        start = int((time.time() - 3600 * hours) * 1000)
        tags = {"sslmlflow.entry_point": "pretrain"}
        runs[name] = client.create_run("0", start_time=start, tags=tags, run_name=f"{name}\nrun").info.run_id
        for key, text in (("resolved/image_size", "32"), ("resolved/data_dir", "auto")):
            client.log_param(runs[name], key, text)
        if name != "empty":
            given = {"params": {"epoch": "0"}, "tags": {"kind": "milestone"}, "source_run_id": runs[name]}
            client.finalize_logged_model(client.create_logged_model("0", **given).model_id, "READY")
    client.set_terminated(runs["failed"], "FAILED")
    assert latest_run(client, TRAININGS).info.run_id == runs["running"], "none has finished: the latest of all"
    client.set_terminated(runs["finished"])
    client.set_terminated(runs["empty"])
    capsys.readouterr()
    assert latest_run(client, TRAININGS).info.run_id == runs["finished"]
    assert _source_run(client, Evaluate()) == runs["finished"]
    said = f"run=auto: finished\\nrun, run {runs['finished']}, FINISHED, started 30 h ago\n"
    assert capsys.readouterr().out == 2 * said
    assert _source_run(client, Evaluate(follow=True)) == runs["running"], "the one that there is to follow"
    client.delete_run(runs["finished"])
    assert latest_run(client, TRAININGS).info.run_id == runs["running"]
    assert [c.run_id for c in histories_of(client, [client.get_run(runs["failed"])])] == [runs["failed"]]
