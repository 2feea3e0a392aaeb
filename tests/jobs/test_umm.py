"""UMM as its user runs it: from a milestone to a run of its own, and every mistake in words."""

import os
import shutil
import signal
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import Run
from safetensors.torch import load_file
from torch import Tensor

from tests.conftest import Command, NewDatabase
from tests.fork_server import ForkServer
from tests.jobs.small import SMALL

pytestmark = pytest.mark.slow
TRAINING = [*SMALL, "--epochs=3", "--milestone_every=1"]
MOCO = ["--method=moco-v2", "--method_options=queue_size=80,hidden_width=32"]
TUNING = ["--epochs=2", "--js_images=16", "--directions=4"]


@pytest.fixture(scope="module")
def trained(fork_server: ForkServer, new_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which MoCo was trained, with the database and the home of it."""
    folder = tmp_path_factory.mktemp("trained")
    own = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "SSLMLFLOW_"))},
        "SSLMLFLOW_HOME": str(folder / "home"),
        "MLFLOW_TRACKING_URI": new_database(folder),
        "OMP_NUM_THREADS": "1",
    }
    log = folder / "output.txt"
    files = {"folder": str(folder), "stdout": str(log), "stderr": str(log)}
    fork_server.start(arguments=["pretrain", *TRAINING, *MOCO], environment=own, **files)
    assert fork_server.wait() == 0, log.read_text()
    return folder


@pytest.fixture
def training(trained: Path, environment: dict[str, str], tmp_path: Path) -> str:
    """Its run, in a database of the test's own."""
    shutil.copy(trained / "mlflow.db", tmp_path / "mlflow.db")
    environment["SSLMLFLOW_HOME"] = str(trained / "home")
    _, (run,) = runs(environment, "pretrain")
    return str(run.info.run_id)


def runs(environment: dict[str, str], entry_point: str) -> tuple[MlflowClient, list[Run]]:
    client = MlflowClient(environment["MLFLOW_TRACKING_URI"])
    found = client.search_runs(["0"], f"tags.`sslmlflow.entry_point` = '{entry_point}'", order_by=["start_time ASC"])
    return client, list(found)


def weights(client: MlflowClient, run_id: str, epoch: int) -> dict[str, Tensor]:
    """All tensors of a milestone, and where they lie."""
    models = client.search_logged_models(["0"], f"source_run_id = '{run_id}'")
    (model,) = (model for model in models if model.params["epoch"] == str(epoch))
    folder = Path(download_artifacts(model.artifact_location))
    encoder = {f"encoder.{name}": tensor for name, tensor in load_file(folder / "encoder.safetensors").items()}
    return encoder | load_file(folder / "method.safetensors")


def test_a_milestone_is_tuned_in_a_run_of_its_own(
    training: str, sslmlflow: Command, environment: dict[str, str]
) -> None:
    client = MlflowClient(environment["MLFLOW_TRACKING_URI"])
    fragment = sslmlflow("pretrain", *SMALL, "--epochs=1")  # the latest, but not to its end
    assert fragment.returncode == 0, fragment.stderr
    client.set_terminated(runs(environment, "pretrain")[1][-1].info.run_id, "KILLED")
    done = sslmlflow("umm", *TUNING, "--lr=0.01")
    assert done.returncode == 0, done.stderr
    assert f"from epoch 3 of moco-v2 resnet18 on digit-scenes, run {training}" in done.stdout
    client, (tuning,) = runs(environment, "umm")
    source, tuned = training, tuning.info.run_id
    assert tuning.data.tags["mlflow.parentRunId"] == source
    assert tuning.info.run_name == "umm on moco-v2 resnet18 on digit-scenes, epoch 3"
    assert tuning.info.status == "FINISHED"
    assert [given.model_id for given in client.get_run(tuned).inputs.model_inputs] == [
        tuning.data.tags["sslmlflow.milestone"]
    ]
    steps = [m.step for m in client.get_metric_history(tuned, "train/js")]
    assert steps == [1, 2, 3, 4, 5, 6]
    before, start, end = weights(client, source, 3), weights(client, tuned, 0), weights(client, tuned, 2)
    assert before.keys() == start.keys() == end.keys()
    assert [name for name in before if not before[name].equal(start[name])] == [], "the whole method came back"
    moved = {name for name in before if not before[name].equal(end[name])}
    assert not {name for name in moved if name.startswith("encoder.early.")}
    assert {"encoder.late.layer4.0.conv1.weight", "queue", "queue_position", "key.projector.layers.0.weight"} <= moved
    live = {metric.key for metric in client.search_logged_models(["0"], f"source_run_id = '{tuned}'")[0].metrics}
    assert {"label_free/crr_adjusted", "early/crr"} <= live

    evaluated = sslmlflow("evaluate", f"--run={tuned}", "--probe=plain")
    assert evaluated.returncode == 0, evaluated.stderr
    assert "linear probe" in evaluated.stdout
    reported = sslmlflow("report", f"--runs={tuned}")
    assert "Chosen without labels: epoch" in reported.stdout, reported.stderr


def test_every_way_of_starting(training: str, sslmlflow: Command, environment: dict[str, str]) -> None:
    client = MlflowClient(environment["MLFLOW_TRACKING_URI"])
    models = client.search_logged_models(["0"], f"source_run_id = '{training}'")
    crr = {
        int(model.params["epoch"]): next(m.value for m in model.metrics if m.key == "label_free/crr_adjusted")
        for model in models
    }
    best = max(crr, key=lambda epoch: crr[epoch])
    second = next(model for model in models if model.params["epoch"] == "2")
    quick = ["--epochs=1", "--js_images=4", "--directions=2"]
    variants = ["simultaneous", "alternating", "continuation", "umm"]
    starts = [("best", best), ("init", 0), ("1", 1), (second.model_id, 2)]
    for (which, epoch), variant in zip(starts, variants, strict=True):
        done = sslmlflow("umm", *quick, f"--milestone={which}", f"--variant={variant}")
        assert done.returncode == 0, done.stderr
        _, tunings = runs(environment, "umm")
        assert tunings[-1].info.run_name.endswith(f", epoch {epoch}")
    for arguments in [["--early_layer=layer2"], [f"--run={tunings[-1].info.run_id}"]]:
        done = sslmlflow("umm", *quick, *arguments)
        assert done.returncode == 0, done.stderr
    _, tunings = runs(environment, "umm")
    earlier = next(run for run in tunings if run.data.params["early_layer"] == "layer2")
    assert earlier.data.tags["mlflow.parentRunId"] == training, "tunings are not taken for trainings"
    start, end = (weights(client, earlier.info.run_id, epoch) for epoch in (0, 1))
    moved = {name for name in start if not start[name].equal(end[name])}
    assert "encoder.late.layer3.0.conv1.weight" in moved
    assert not {name for name in moved if name.startswith("encoder.early.")}


def test_a_killed_tuning_goes_on_to_the_same_bits(
    training: str, fork_server: ForkServer, sslmlflow: Command, environment: dict[str, str], tmp_path: Path
) -> None:
    tuning = ["umm", "--epochs=6", "--milestone_every=2", "--js_images=8", "--directions=2"]
    calm = sslmlflow(*tuning)
    assert calm.returncode == 0, calm.stderr
    log = tmp_path / "stormy.txt"
    request = {
        "arguments": [*tuning, "--resume=auto"],
        "environment": environment,
        "folder": str(tmp_path),
        "stdout": str(log),
        "stderr": str(log),
    }
    child = fork_server.start(**request)
    patience = time.monotonic() + 120
    while (not log.exists() or "\nepoch 3/6" not in log.read_text()) and time.monotonic() < patience:
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    fork_server.wait()
    fork_server.start(**request)
    assert fork_server.wait() == 0, log.read_text()
    assert "going on with run" in log.read_text()
    client, (first, second) = runs(environment, "umm")
    for epoch in (0, 2, 4, 6):
        ours, theirs = (weights(client, run.info.run_id, epoch) for run in (first, second))
        assert [name for name in ours if not ours[name].equal(theirs[name])] == []
    for key in ("train/loss", "train/objective"):
        ours, theirs = (
            sorted((m.step, m.value) for m in client.get_metric_history(run.info.run_id, key))
            for run in (first, second)
        )
        assert ours == theirs
        assert len(ours) == 18


def test_without_a_training_there_is_nothing_to_tune(sslmlflow: Command) -> None:
    nothing = sslmlflow("umm")
    assert nothing.returncode == 1
    assert "there are no milestones in experiment Default of sqlite://" in nothing.stderr


def test_mistakes_are_told_in_words(training: str, sslmlflow: Command, environment: dict[str, str]) -> None:
    for arguments, status, said in [
        (["--alpha=-1"], 2, "alpha=-1 is not possible. Allowed: a number of at least 0."),
        (["--beta=-0.5", "--inner_lr=0"], 2, "inner_lr=0 is not possible. Allowed: a number above 0."),
        (["--variant=ummm"], 2, "variant=ummm is not possible. Did you mean umm?"),
        (["--milestone=latest"], 2, "milestone=latest is not possible. Allowed: last, best, init, an epoch"),
        (["--milestone=7"], 1, f"run {training} has no milestone of epoch 7. It has: 0, 1, 2, 3."),
        (["--milestone=m-0"], 1, "m-0 is not a model on this tracking server"),
        (["--run=0"], 1, "run 0 is not on the tracking server"),
        (["--density=sketch_in"], 2, "directions=8 is not possible with density=sketch_in. Allowed: at least"),
        (["--batch_size=97"], 1, "96 training images do not fill one batch of 97."),
    ]:
        refused = sslmlflow("umm", *arguments)
        assert refused.returncode == status, refused.stderr
        assert said in refused.stderr
        assert "Traceback" not in refused.stderr
    assert runs(environment, "umm")[1] == [], "a mistake leaves no run"


def test_a_milestone_without_its_methods_state_is_told(
    training: str, sslmlflow: Command, environment: dict[str, str]
) -> None:
    models = MlflowClient(environment["MLFLOW_TRACKING_URI"]).search_logged_models(
        ["0"], f"source_run_id = '{training}'"
    )
    (last,) = (model for model in models if model.params["epoch"] == "3")
    state = Path(download_artifacts(last.artifact_location)) / "method.safetensors"
    state.rename(state.with_suffix(".away"))
    try:
        refused = sslmlflow("umm", *TUNING)
    finally:
        state.with_suffix(".away").rename(state)
    assert refused.returncode == 1
    assert "the milestone of epoch 3 does not hold the state of its method, moco-v2" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_other_images_are_refused(sslmlflow: Command, environment: dict[str, str], tmp_path: Path) -> None:
    from tests.jobs.test_evaluate import _draw_images

    _draw_images(tmp_path / "images", 40, seed=0)
    small = ["--width=4", "--batch_size=16", "--epochs=1", "--monitor_images=8"]
    assert sslmlflow("pretrain", "--dataset=folder", f"--data_dir={tmp_path}/images", *small).returncode == 0
    _draw_images(tmp_path / "images", 5, seed=1)
    refused = sslmlflow("umm", *TUNING)
    assert refused.returncode == 1
    assert "the training images are not those that the milestone was trained on" in refused.stderr


def test_a_grid_tries_every_value_and_goes_on_where_it_was(
    training: str, sslmlflow: Command, environment: dict[str, str]
) -> None:
    grid = ["grid", "--over=beta", "--values=0,2", "--epochs=1", "--js_images=8", "--directions=2", "--probe=plain"]
    done = sslmlflow(*grid)
    assert done.returncode == 0, done.stderr
    table = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert table[0].startswith("| beta | adjusted CRR | pair CRR | linear probe")
    assert [line.split("|")[1].strip() for line in table[2:]] == ["before", "0.0", "2.0"]
    client, (parent,) = runs(environment, "grid")
    _, children = runs(environment, "umm")
    assert [run.data.params["beta"] for run in children] == ["0.0", "2.0"]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert [run.info.run_name.partition(":")[0] for run in children] == ["beta = 0.0", "beta = 2.0"]
    measured = {
        run.data.params["beta"]: [m.value for m in client.get_metric_history(run.info.run_id, "labelled/knn")][-1]
        for run in children
    }
    assert f"{100 * measured['2.0']:.1f} %" in table[-1]
    reported = sslmlflow("report", f"--runs={children[1].info.run_id}")
    assert reported.returncode == 0, reported.stderr
    again = sslmlflow(*grid, f"--resume={parent.info.run_id}")
    assert again.returncode == 0, again.stderr
    assert [line for line in again.stdout.splitlines() if line.startswith("|")] == table
    assert len(runs(environment, "umm")[1]) == 2
    for arguments, said in [
        (
            ["--over=eps", "--values=0.1,0"],
            "values=0.1,0.0 is not possible: eps=0.0 is not possible. Allowed: a number above",
        ),
        (["--variant=continuation"], "over=alpha is not possible with variant=continuation"),
        (["--over=eps", "--alpha=0"], "over=eps is not possible with variant=umm and alpha=0.0"),
        (["--density=sketch_in"], "directions=8 is not possible with density=sketch_in"),
    ]:
        refused = sslmlflow("grid", *arguments)
        assert refused.returncode == 2
        assert said in refused.stderr
    assert len(runs(environment, "grid")[1]) == 1, "a mistake leaves no run"


def test_pretraining_stops_past_the_peak_and_keeps_it(sslmlflow: Command, environment: dict[str, str]) -> None:
    # At this learning rate the spread of so few images' embeddings is highest within the first epochs.
    training = ["pretrain", *SMALL, "--lr=3", "--epochs=40", "--milestone_every=1", "--schedule=constant"]
    done = sslmlflow(*training, "--stop_on=label_free/rankme", "--patience=2")
    assert done.returncode == 0, done.stderr
    client, (run,) = runs(environment, "pretrain")
    values = {
        m.step: m.value for m in client.get_metric_history(run.info.run_id, "label_free/rankme") if m.step is not None
    }
    epochs = [m.step for m in client.get_metric_history(run.info.run_id, "epoch")]
    peak = max(values, key=lambda epoch: (values[epoch], -epoch))
    assert max(epochs) == peak + 2 < 40
    assert run.data.tags["sslmlflow.peak_epoch"] == str(peak)
    assert run.data.tags["sslmlflow.stopped_epoch"] == str(peak + 2)
    assert f"stopped after epoch {peak + 2}: highest RankMe at epoch {peak}" in done.stdout
    models = client.search_logged_models(["0"], f"source_run_id = '{run.info.run_id}'")
    assert str(peak) in {model.params["epoch"] for model in models}
    again = sslmlflow(*training, "--stop_on=label_free/rankme", "--patience=2", f"--resume={run.info.run_id}")
    assert "already trained to its end" in again.stdout
