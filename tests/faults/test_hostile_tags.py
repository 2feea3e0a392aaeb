"""What others may write on a shared tracking server, in every field that a job reads of runs that it does not know."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from sslmlflow.config.evaluate import Evaluate
from sslmlflow.config.report import Report
from sslmlflow.config.upkeep import Reap, Sync
from sslmlflow.errors import UserError
from sslmlflow.evaluation.log_best import log_best
from sslmlflow.jobs import reap, report, sync
from sslmlflow.jobs.evaluate import _source_run
from sslmlflow.reporting.history import history_of
from sslmlflow.reporting.trainings import training_histories
from sslmlflow.runs.start import starting_milestone
from sslmlflow.runs.umm import _recipe
from sslmlflow.tracking import liveness
from sslmlflow.tracking.run import _look_around
from sslmlflow.tracking.stored import DEVIATIONS, milestones_of_run
from sslmlflow.tracking.trained_images import images_of_run
from tests.conftest import Command
from tests.faults.conftest import Told
from tests.faults.size import LONG
from tests.jobs.small import SMALL
from tests.stored import BUILDS, unpack

VALUES = [
    "not-a-number",
    "",
    "NaN",
    "inf",
    "1e999",
    "-1",
    "١٢",
    "9" * 400,
    "\x1b[31m\nforged line\r",
    "../../etc/passwd' OR '1'='1",
]
TAGS = [
    *("sslmlflow.heartbeat", "sslmlflow.host", "sslmlflow.owner", "sslmlflow.key", "sslmlflow.training"),
    *("sslmlflow.entry_point", "resumed_as", "mlflow.parentRunId", "mlflow.runName", "sslmlflow.evaluates"),
]
PARAMS = [
    *("dataset", "data_seed", "max_train_images", "resolved/data_dir", "resolved/image_size", "alpha", "variant"),
    *("resolved/batch_size", "resolved/lr", "resolved/weight_decay", "warmup_epochs", "resolved/milestone_every"),
]
MODELS = ["epoch", "kind", "sslmlflow.key", "clustered", "alarms", "metric"]
FIELDS = [*(f"tag {name}" for name in TAGS), *(f"param {name}" for name in PARAMS), *(f"model {n}" for n in MODELS)]


@dataclass
class Store:
    """A store with a finished training of one's own, and a number for what others make."""

    client: MlflowClient
    own: str
    made: Iterator[int]

    def run_of_another(self, field: str, value: str) -> str:
        """Make a run as a finished training has it, that is said to run, with this value in the field; its id."""
        kind, _, name = field.partition(" ")
        own = self.client.get_run(self.own)
        tags = {**own.data.tags, "sslmlflow.heartbeat": "1", "sslmlflow.host": "elsewhere"}
        params = dict(own.data.params)
        if kind == "param":
            params |= {"variant": "js", name: value}
        elif kind == "tag":
            tags[name] = value
        run_id = self.client.create_run("0", run_name=f"another's {next(self.made)}").info.run_id
        self.client.log_batch(
            run_id,
            tags=[RunTag(key, text) for key, text in tags.items() if key != "mlflow.runName" or name == key],
            params=[Param(key, text) for key, text in params.items()],
        )
        if kind != "tag":
            self.model_of_another(run_id, name, value)
        return str(run_id)

    def model_of_another(self, run_id: str, name: str, value: str) -> None:
        """A finished milestone of the run, with this value in the field, and a metric of a run that is gone."""
        tags = {"kind": "milestone", "sslmlflow.key": f"{run_id}:1"}
        if name in ("kind", "sslmlflow.key"):
            tags[name] = value
        tags |= {"sslmlflow.clustered." + "0" * 8: value, "sslmlflow.clustered.": value, "sslmlflow.alarms": value}
        tags[DEVIATIONS] = value
        params = {"epoch": value if name == "epoch" else "1"}
        model = self.client.create_logged_model("0", source_run_id=run_id, params=params, tags=tags)
        self.client.finalize_logged_model(model.model_id, "READY")
        gone = self.client.create_run("0").info.run_id
        for run, key, number in ((run_id, "label_free/crr_adjusted", float("inf")), (gone, "labelled/knn", 0.5)):
            self.client.log_batch(run, metrics=[Metric(key, number, 1, 2**40, model.model_id, value[:100], "digest")])
        self.client.delete_run(gone)


@pytest.fixture
def store(environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    (tmp_path / "mlflow.db").unlink()
    unpack(BUILDS[0], tmp_path)
    shutil.rmtree(tmp_path / "home" / "runs")
    for name in ("SSLMLFLOW_HOME", "MLFLOW_TRACKING_URI"):
        monkeypatch.setenv(name, environment[name])
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    monkeypatch.setattr(liveness, "FRESH_SECONDS", 0.1)
    mlflow.set_tracking_uri(environment["MLFLOW_TRACKING_URI"])
    client = MlflowClient()
    finished = "tags.`sslmlflow.entry_point` = 'pretrain' AND status = 'FINISHED'"
    own = client.search_runs(["0"], finished)[-1].info.run_id
    return Store(client, own, count())


@pytest.mark.slow
def test_what_others_write_stops_no_job(
    store: Store, sslmlflow: Command, tell: Told, capsys: pytest.CaptureFixture[str]
) -> None:
    """One value per field in every test run, all of them by `make long`."""
    tried = [
        (field, value)
        for place, field in enumerate(FIELDS)
        for value in (VALUES if LONG else VALUES[place % len(VALUES) :][:1])
    ]
    hostile = [store.run_of_another(field, value) for field, value in tried]
    for field, value in tried:  # a model that says to be of one's own run: its sender and its report read it
        if field.startswith("model"):
            store.model_of_another(store.own, field.removeprefix("model "), value)
    client = store.client
    _look_around(client)
    log_best(client, store.own)
    readable = [history.run_id for history in training_histories(client)]
    assert store.own in readable
    assert starting_milestone(client, None, "last").source_run_id
    assert images_of_run(client, _source_run(client, Evaluate()))
    report.run(Report(runs=tuple({store.own: None, **dict.fromkeys(readable[-2:])})))
    sync.run(Sync())
    assert sslmlflow("pretrain", *SMALL, "--epochs=1").returncode == 0
    reap.run(Reap())
    left = [run_id for run_id in hostile if client.get_run(run_id).info.status == "RUNNING"]
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert "\nforged line" not in said
    assert not left, "a heartbeat that is no time keeps no run alive"
    tell(f"T10: {len(tried)} hostile values in {len(FIELDS)} fields of others' runs and milestones: no job stopped")


@pytest.mark.slow
def test_a_run_that_is_named_is_refused_in_a_sentence(store: Store) -> None:
    client, said = store.client, []
    for place, field in enumerate(name for name in FIELDS if not name.startswith("tag")):
        run_id = store.run_of_another(field, VALUES[place % len(VALUES)])
        reads: list[Callable[[], object]] = [
            partial(history_of, client, run_id),
            partial(images_of_run, client, run_id),
            partial(starting_milestone, client, run_id, "last"),
            partial(_recipe, client.get_run(run_id).data.params),
        ]
        said += [_refusal(read) for read in reads]
    assert sum(map(bool, said)) >= 5
    assert not [text for text in said if any(not c.isprintable() for c in text)]


def _refusal(read: Callable[[], object]) -> str:
    try:
        read()
    except UserError as error:
        return str(error)
    return ""


def test_reap_goes_on_past_a_run_that_it_may_not_end(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (store.run_of_another("tag sslmlflow.host", "elsewhere") for _ in range(2))
    refused = {first}

    def end(self: MlflowClient, run_id: str, *given: object) -> None:
        if run_id in refused:
            raise MlflowException("Permission denied", error_code=7)
        real(self, run_id, *given)

    real = MlflowClient.set_terminated
    monkeypatch.setattr(MlflowClient, "set_terminated", end)
    reap.run(Reap())
    said = capsys.readouterr().out
    assert f"run {first} is dead" in said
    assert "cannot be marked as killed: Permission denied" in said
    assert f"marked as killed: run {second}" in said
    assert "3 of 3 running runs were dead" in said, "one of them was in the store"
    with pytest.raises(UserError, match=f"lets none of these be marked as killed: {first}"):
        reap.run(Reap())
    assert milestones_of_run(store.client, store.own)
