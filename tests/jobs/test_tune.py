"""A search as its user runs it: its trials, what becomes of each, what is chosen, and that no label had a part."""

import csv
import os
import re
import shutil
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.artifacts import load_text
from mlflow.entities import Run

from sslmlflow import data
from sslmlflow.cli import main
from sslmlflow.data import digit_scenes
from sslmlflow.data.source import LabelSets
from tests.conftest import Command, NewDatabase
from tests.fork_server import ForkServer
from tests.jobs.small import SMALL
from tests.search.postgres import postgres

pytestmark = pytest.mark.slow
QUICK = ["--epochs=1", "--js_images=4", "--directions=2", "--probe=plain", "--milestone_every=1", "--untuned_seeds=1"]

ENOUGH = ["--max_test_images=200", "--monitor_images=200"]  # with fewer held-out images nothing is registered


@pytest.fixture(scope="module")
def trained(fork_server: ForkServer, new_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which SimCLR was trained, with the database and the home of it."""
    folder = tmp_path_factory.mktemp("trained")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "SSLMLFLOW_"))}
    own = {"SSLMLFLOW_HOME": str(folder / "home"), "MLFLOW_TRACKING_URI": new_database(folder)}
    log = folder / "output.txt"
    files = {"folder": str(folder), "stdout": str(log), "stderr": str(log)}
    fork_server.start(arguments=["pretrain", *SMALL, *ENOUGH, "--epochs=3"], environment={**clean, **own}, **files)
    assert fork_server.wait() == 0, log.read_text()
    return folder


@pytest.fixture
def training(trained: Path, environment: dict[str, str], tmp_path: Path) -> MlflowClient:
    """Its run, in a database and a home of the test's own; a client of the database."""
    shutil.copy(trained / "mlflow.db", tmp_path / "mlflow.db")
    shutil.copytree(trained / "home", tmp_path / "home")
    return MlflowClient(environment["MLFLOW_TRACKING_URI"])


def runs(client: MlflowClient, entry_point: str) -> list[Run]:
    found = client.search_runs(["0"], f"tags.`sslmlflow.entry_point` = '{entry_point}'", order_by=["start_time ASC"])
    return list(found)


def trials(client: MlflowClient, tune: Run) -> dict[int, dict[str, str]]:
    """State and values of every trial, as the run's table has them."""
    lines = csv.DictReader(load_text(f"{tune.info.artifact_uri}/trials.csv").splitlines())
    found: dict[int, dict[str, str]] = {}
    for line in lines:
        if line["trial"] == "untuned":
            continue
        found.setdefault(int(line["trial"]), {"state": line["state"]})[line["name"]] = line["value"]
    return found


def value(client: MlflowClient, run: Run, key: str) -> float:
    """A metric of a run's last milestone."""
    return max(client.get_metric_history(run.info.run_id, key), key=lambda metric: metric.step).value


def test_a_study_from_its_first_trial_to_its_extension(training: MlflowClient, sslmlflow: Command) -> None:
    client, search = training, ["tune", *QUICK, "--alpha_range=0.005..0.05:log", "--study=mine"]
    done = sslmlflow(*search, "--trials=3")
    assert done.returncode == 0, done.stderr
    (tune,) = runs(client, "tune")
    assert tune.info.status == "FINISHED"
    children = runs(client, "umm")
    names = [run.info.run_name for run in children]
    assert names[0] == "untuned"
    assert names[1] == "trial 0: alpha = 0.01, beta = 1"
    assert [name.partition(":")[0] for name in names[1:]] == [f"trial {number}" for number in range(3)]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {tune.info.run_id}
    assert {run.info.status for run in children} == {"FINISHED"}
    assert len({run.data.params["alpha"] for run in children}) == 4
    assert all(0.005 <= float(run.data.params["alpha"]) <= 0.05 for run in children[1:])
    assert tune.data.params["resolved/alpha_range"] == "0.005..0.05:log"
    found = tune.data.params["resolved/beta_range"]  # auto: in units of the gradients before the first step
    low, high = map(float, found.removesuffix(":log").split(".."))
    assert high == pytest.approx(1000 * low, rel=0.01)
    assert all(low <= float(run.data.params["beta"]) <= high for run in children[1:])
    assert "searched: alpha from 0.005 to 0.05 (logarithmic), beta from " in done.stdout
    report = load_text(f"{tune.info.artifact_uri}/tune.md")
    assert "Searched: alpha from 0.005 to 0.05 (logarithmic), beta from " in report
    assert "A trial is rejected for a held-out loss separably above " in report
    told = [m.value for m in client.get_metric_history(tune.info.run_id, "tune/objective")]
    assert told == [value(client, run, "label_free/crr_adjusted") for run in children[1:]]
    assert tune.data.metrics["tune/untuned"] == value(client, children[0], "label_free/crr_adjusted")
    files = {file.path for file in client.list_artifacts(tune.info.run_id)}
    assert {"tune.md", "trials.csv", "accuracies.md", "figures"} <= files
    figures = {file.path for file in client.list_artifacts(tune.info.run_id, "figures")}
    drawn = ("history", "importance", "contour", "parallel_coordinates")
    assert figures == {f"figures/{name}.png" for name in drawn}
    assert "3 trials: 3 finished." in done.stdout
    assert "default, trial 0" in done.stdout
    assert "| adjusted CRR |" in done.stdout

    old = runs(client, "pretrain")[0].info.run_id
    assert sslmlflow("pretrain", *SMALL, "--epochs=1").returncode == 0
    more = sslmlflow(*search, "--trials=4", f"--run={old}")
    assert more.returncode == 0, more.stderr
    assert [run.info.run_id for run in runs(client, "tune")] == [tune.info.run_id]
    assert len(runs(client, "umm")) == 5, "what was done is not done again"
    assert list(trials(client, tune)) == list(range(4))
    refused = sslmlflow(*search, "--trials=5", "--lr=0.1", "--alpha_range=0.1..1", f"--run={old}")
    assert refused.returncode == 1
    assert "study mine cannot go on with other settings" in refused.stderr
    assert "lr was 0.001, now 0.1" in refused.stderr
    assert "alpha_range was 0.005..0.05:log, now 0.1..1" in refused.stderr
    refused = sslmlflow(*search, f"--run={old}", f"--resume={old}")
    assert f"study mine is not that of run {old}: its run is {tune.info.run_id}" in refused.stderr
    refused = sslmlflow("tune", *QUICK, f"--run={old}", f"--resume={old}")
    assert f"resume={old} is not possible: that run is not a study's" in refused.stderr
    refused = sslmlflow("tune", *QUICK, f"--run={old}", f"--resume={tune.info.run_id}")
    assert "study mine cannot go on with other settings: alpha_range was 0.005..0.05:log" in refused.stderr


def test_a_trial_is_what_umm_makes_of_its_values_and_the_best_within_the_limits_is_registered(
    training: MlflowClient, sslmlflow: Command
) -> None:
    client = training
    alone = sslmlflow("umm", *QUICK[:3], QUICK[4], "--alpha=0.02", "--beta=2", "--seed=1")
    assert alone.returncode == 0, alone.stderr
    (umm,) = runs(client, "umm")
    search = ["tune", *QUICK, "--alpha=0.02", "--beta=2", "--trials=2", "--trial_seeds=2", "--objective=rankme"]
    done = sslmlflow(*search, "--sampler=quasi-random", "--labels=none")
    assert done.returncode == 0, done.stderr
    assert "linear probe" not in done.stdout
    (tune,) = runs(client, "tune")
    children = {run.info.run_name: run for run in runs(client, "umm")[1:]}
    assert len(children) == 6
    same = children["trial 0: alpha = 0.02, beta = 2, seed 1"]
    for key in ("label_free/rankme", "label_free/crr_adjusted", "train/objective"):
        assert client.get_metric_history(same.info.run_id, key)[-1].value == value(client, umm, key)
    seeds = [value(client, children[f"trial 0: alpha = 0.02, beta = 2, seed {s}"], "label_free/rankme") for s in (0, 1)]
    found = trials(client, tune)
    assert float(found[0]["label_free/rankme"]) == pytest.approx(sum(seeds) / 2)
    limits = ("limit: pooled CRR", "limit: held-out loss")
    sound = [seat for seat, told in found.items() if all(float(told[limit]) <= 0 for limit in limits)]
    best = max(sound, key=lambda seat: float(found[seat]["label_free/rankme"]), default=None)
    beaten = best is not None and float(found[best]["label_free/rankme"]) > tune.data.metrics["tune/untuned"]
    if not beaten:
        assert "Not registered: no trial within the limits beats the untuned encoder." in done.stdout
        return
    registered = "Registered as sslmlflow-Default, version 1, alias label-free-tuned."
    assert registered in done.stdout, done.stdout[-2000:]
    version = client.get_model_version_by_alias("sslmlflow-Default", "label-free-tuned")
    assert version.tags["trial"] == str(best)
    model = client.get_logged_model(version.tags["model_id"])
    assert client.get_run(model.source_run_id).info.run_name.startswith(f"trial {best}:")
    assert model.params["epoch"] == "1"


def told_and_ended(client: MlflowClient) -> dict[str, tuple[str, str, bool]]:
    """Of every trial what the table says of it, the status of its run, and whether it was chosen."""
    (tune,) = runs(client, "tune")
    table = load_text(f"{tune.info.artifact_uri}/tune.md").splitlines()
    ended = {run.info.run_name.partition(":")[0]: run.info.status for run in runs(client, "umm")}
    found = {}
    for line in filter(lambda line: line.startswith("|"), table):
        first, *_, last = [cell.strip() for cell in line.split("|")[1:-1]]
        if f"trial {first.strip(' *')}" in ended:
            found[first.strip(" *")] = last, ended[f"trial {first.strip(' *')}"], "*" in first
    return found


def test_pruned_trials_are_told_as_such_and_never_chosen(training: MlflowClient, sslmlflow: Command) -> None:
    search = ["tune", *QUICK, "--epochs=3", "--trials=11", "--alpha_range=0.008..0.05:log", "--labels=none"]
    done = sslmlflow(*search, "--sampler=quasi-random", "--precision=float32")
    assert done.returncode == 0, done.stderr
    found = told_and_ended(training)
    assert list(found) == list(map(str, range(11)))
    pruned = [words for words, status, _ in found.values() if status == "KILLED"]
    assert len(pruned) >= 1
    assert all(
        words.startswith("pruned: behind the median") == (status == "KILLED") for words, status, _ in found.values()
    )
    (chosen,) = (status for _, status, chosen in found.values() if chosen)
    assert chosen == "FINISHED"
    assert f"11 trials: {11 - len(pruned)} finished, {len(pruned)} pruned." in done.stdout


def test_failed_trials_are_told_with_their_reason(training: MlflowClient, sslmlflow: Command) -> None:
    search = ["tune", *QUICK, "--epochs=3", "--trials=3", "--search=lr:1e6..1e9:log", "--labels=none"]
    done = sslmlflow(*search, "--milestone_every=3")
    assert done.returncode == 0, done.stderr
    found = told_and_ended(training)
    assert len(found) == 3
    failed = [words for words, status, _ in found.values() if status == "FAILED"]
    assert len(failed) >= 1
    for words, status, chosen in found.values():
        if status == "FAILED":
            assert any(said in words for said in ("became", "has no value", "cannot be taken", "held-out images is"))
            assert not chosen
    assert f"{len(failed)} failed" in done.stdout


def test_stopped_and_killed_workers_lose_nothing(
    training: MlflowClient, fork_server: ForkServer, environment: dict[str, str], tmp_path: Path
) -> None:
    client, log = training, tmp_path / "output.txt"
    arguments = ["tune", *QUICK, "--epochs=4", "--trials=4", "--workers=2", "--heartbeat=1", "--labels=none"]
    files = {"folder": str(tmp_path), "stdout": str(log), "stderr": str(log)}
    request = {"arguments": [*arguments, "--prune=false"], "environment": environment, **files}
    for begun, stop in ((2, signal.SIGINT), (3, signal.SIGKILL)):
        leader = fork_server.start(**request)
        patience = time.monotonic() + 200
        while not under_way(client, 1 + begun) and time.monotonic() < patience:
            time.sleep(0.1)
        if stop == signal.SIGKILL:
            kill_children(leader)
        os.kill(leader, stop)
        status = fork_server.wait()
        if stop == signal.SIGINT:
            assert os.waitstatus_to_exitcode(status) == 130, log.read_text()[-3000:]
            assert {run.info.status for run in runs(client, "umm")} <= {"FINISHED", "KILLED"}
            assert runs(client, "tune")[0].info.status == "KILLED"
    fork_server.start(**request)
    assert fork_server.wait() == 0, log.read_text()[-3000:]
    (tune,) = runs(client, "tune")
    assert tune.info.status == "FINISHED"
    found = trials(client, tune)
    assert list(found) == list(range(4))
    assert {told["state"] for told in found.values()} == {"COMPLETE"}
    ended = Counter(run.info.run_name.partition(":")[0] for run in runs(client, "umm") if run.info.status == "FINISHED")
    assert ended == {"untuned": 1, **{f"trial {seat}": 1 for seat in range(4)}}
    assert {run.info.status for run in runs(client, "umm")} <= {"FINISHED", "KILLED"}
    # Four trials were interrupted; at most one of them had begun after the look and not yet said which run is its.
    assert len(runs(client, "umm")) <= 6, "what was begun goes on in its run"


def under_way(client: MlflowClient, count: int) -> bool:
    """Whether so many trainings were begun, and all of them train or have."""
    found = runs(client, "umm")
    return len(found) >= count and all("train/loss" in run.data.metrics for run in found)


def kill_children(process: int) -> None:
    for child in Path(f"/proc/{process}/task/{process}/children").read_text().split():
        os.kill(int(child), signal.SIGKILL)


def test_the_search_asks_for_no_label(labels_refused: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    search = ["tune", *QUICK, "--trials=1"]
    assert main(["pretrain", *SMALL, "--epochs=1"]) == 0
    assert main([*search, "--labels=none"]) == 0
    assert main([*search, "--study=other"]) == 1
    assert "a label was asked for" in capsys.readouterr().err
    client = MlflowClient(labels_refused)
    last = runs(client, "tune")[-1]
    assert "tune/chosen" in last.data.metrics or "None can be chosen" in last.data.tags["mlflow.note.content"]
    assert "tune.md" in {file.path for file in client.list_artifacts(last.info.run_id)}, "labels come after the choice"


def test_labels_have_no_part_in_the_trials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def permuted(*arguments: Any) -> LabelSets:
        labels = digit_scenes.open_labels(*arguments)
        order = np.random.default_rng(0).permutation(len(labels.test))
        return LabelSets(labels.train[::-1].copy(), labels.test[order], labels.classes)

    found, accuracies = [], []
    for name, labels in (("as they are", digit_scenes.open_labels), ("permuted", permuted)):
        monkeypatch.setitem(data.DATASETS, "digit-scenes", data.Dataset(digit_scenes.open_images, labels))
        monkeypatch.setenv("SSLMLFLOW_HOME", str(tmp_path / name))
        mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/{name}.db")
        assert main(["pretrain", *SMALL, "--epochs=1"]) == 0
        assert main(["tune", *QUICK, "--trials=1", "--objective=silhouette"]) == 0
        client = MlflowClient()
        (tune,) = runs(client, "tune")
        trial = runs(client, "umm")[-1]
        measured = value(client, trial, "label_free/silhouette")
        assert float(trials(client, tune)[0]["label_free/silhouette"]) == measured, "what evaluate measures can be it"
        found.append((trials(client, tune), load_text(f"{tune.info.artifact_uri}/tune.md")))
        accuracies.append(load_text(f"{tune.info.artifact_uri}/accuracies.md"))
    assert found[0] == found[1]
    assert accuracies[0] != accuracies[1]


def test_mistakes_are_told_in_words(training: MlflowClient, sslmlflow: Command) -> None:
    for arguments, status, said in [
        (["--alpha_range=1"], 2, "the range 1 of alpha is not possible. Allowed: low..high, low..high:log."),
        (["--search=epochs:1..9"], 2, "epochs is not a parameter here"),
        (["--objective=accuracy"], 2, "objective=accuracy is not possible. "),
        (["--sampler=tbe"], 2, "sampler=tbe is not possible. Did you mean tpe?"),
        (["--trials=0"], 2, "trials=0 is not possible. Allowed: a whole number of at least 1."),
        (["--storage=studies"], 2, "storage=studies is not possible. Allowed: auto, sqlite:///FILE, or postgresql"),
        (
            ["--storage=postgresql+psycopg://a:b@localhost/c"],
            2,
            "invalid value for storage: an address with a pass",
        ),
        (["--storage=postgresql+psycopg://a@127.0.0.1:1/c"], 1, "cannot be used"),
        (["--milestone=9"], 1, "has no milestone of epoch 9"),
        (["--storage=mysql://a@localhost/c"], 2, "is not possible. Allowed: sqlite:///FILE, or postgresql"),
        (["--storage=sqlite:///nowhere/x.db"], 2, "is not possible: there is no folder"),
        (["--search=alpha:0..1"], 2, "alpha has a range of its own, alpha_range=0..1."),
        (["--stop_on=label_free/crr"], 2, "stop_on is not a parameter here"),
        (["--variant=continuation"], 2, "variant=continuation is not possible: alpha and beta have no part in it"),
    ]:
        refused = sslmlflow("tune", *arguments)
        assert refused.returncode == status, (arguments, refused.stderr)
        assert said in refused.stderr
        assert "Traceback" not in refused.stderr
    assert runs(training, "tune") == [], "a mistake leaves no run"


def test_two_workers_share_a_study_in_postgres(
    training: MlflowClient, sslmlflow: Command, environment: dict[str, str]
) -> None:
    with postgres() as url:
        search = ["tune", *QUICK, "--epochs=3", "--prune=false", "--labels=none", f"--storage={url}", "--workers=2"]
        done = sslmlflow(*search, "--trials=4")
        assert done.returncode == 0, done.stderr
    (tune,) = runs(training, "tune")
    found = trials(training, tune)
    assert list(found) == list(range(4))
    assert {told["state"] for told in found.values()} == {"COMPLETE"}
    assert Counter(run.info.status for run in runs(training, "umm")) == {"FINISHED": 5}
    worker = Path(environment["SSLMLFLOW_HOME"], "runs", tune.info.run_id, "worker-2.txt").read_text()
    told = [line.partition(" (")[0] for line in done.stdout.splitlines() if re.match(r"trial \d \(", line)]
    assert sorted(told) == [f"trial {seat}" for seat in range(4)], "the leader tells what any process did"
    taken = [line.partition(":")[0] for line in (done.stdout + worker).splitlines() if re.match(r"trial \d: ", line)]
    assert sorted(taken) == sorted(told)
    assert "\ntrial " in worker, "both take some"
