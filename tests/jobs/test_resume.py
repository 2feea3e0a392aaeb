"""Going on with a run: what is refused, and what is said."""

from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.conftest import Command
from tests.jobs.small import SMALL, left_in

pytestmark = pytest.mark.slow
TRAINING = [*SMALL, "--epochs=2", "--milestone_every=2"]


def test_a_finished_run_is_not_trained_again(sslmlflow: Command, environment: dict[str, str]) -> None:
    sslmlflow("pretrain", *TRAINING)
    run_id = left_in(environment["MLFLOW_TRACKING_URI"]).run.info.run_id
    again = sslmlflow("pretrain", *TRAINING, f"--resume={run_id}")
    assert again.returncode == 0, again.stderr
    assert "already trained to its end" in again.stdout
    left = left_in(environment["MLFLOW_TRACKING_URI"])
    assert len(left.history("train/loss")) == 6
    assert left.run.info.status == "FINISHED"


def test_auto_starts_a_new_run_where_there_is_none_to_go_on_with(
    sslmlflow: Command, environment: dict[str, str]
) -> None:
    done = sslmlflow("pretrain", *TRAINING, "--resume=auto")
    assert done.returncode == 0, done.stderr
    first = left_in(environment["MLFLOW_TRACKING_URI"])
    assert first.run.info.status == "FINISHED"
    first.client.set_terminated(first.run.info.run_id, "KILLED")
    other = [*(argument for argument in TRAINING if not argument.startswith("--lr")), "--lr=0.2"]
    done = sslmlflow("pretrain", *other, "--resume=auto")
    assert done.returncode == 0, done.stderr
    named = f"run {first.run.info.run_id} is unfinished, but is not resumed, since it was started otherwise: lr was 0.1"
    assert f"note: {named}, now 0.2\nnothing unfinished to go on with: a new run" in done.stdout


def test_a_refused_run_is_left_as_it_is(sslmlflow: Command, environment: dict[str, str], tmp_path: Path) -> None:
    sslmlflow("pretrain", *TRAINING)
    before = left_in(environment["MLFLOW_TRACKING_URI"]).run
    run_id, home = before.info.run_id, tmp_path / "elsewhere"
    other = [*(argument for argument in TRAINING if not argument.startswith("--lr")), "--lr=0.2"]
    refused = sslmlflow("pretrain", *other, f"--resume={run_id}")
    assert "lr was 0.1, now 0.2" in refused.stderr
    elsewhere = sslmlflow("pretrain", *TRAINING, f"--resume={run_id}", SSLMLFLOW_HOME=str(home))
    assert f"run {run_id} was trained before, but its checkpoints are not in" in elsewhere.stderr
    assert "SSLMLFLOW_HOME" in elsewhere.stderr
    for one in (refused, elsewhere):
        assert one.returncode == 1
        assert "Traceback" not in one.stderr
    assert left_in(environment["MLFLOW_TRACKING_URI"]).run.to_dictionary() == before.to_dictionary()
    assert not list(home.glob("runs/*"))


def test_an_unknown_run_is_said(sslmlflow: Command) -> None:
    refused = sslmlflow("pretrain", *TRAINING, "--resume=nosuchrun")
    assert refused.returncode == 1
    assert "nosuchrun" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_run_that_mlflow_made_points_to_the_one_gone_on_with(sslmlflow: Command, environment: dict[str, str]) -> None:
    client = MlflowClient(environment["MLFLOW_TRACKING_URI"])
    first = client.create_run("0").info.run_id
    assert sslmlflow("pretrain", *TRAINING, MLFLOW_RUN_ID=first).returncode == 0
    second = client.create_run("0").info.run_id
    done = sslmlflow("pretrain", *TRAINING, f"--resume={first}", MLFLOW_RUN_ID=second)
    assert done.returncode == 0, done.stderr
    assert client.get_run(second).data.tags["resumed_as"] == first


def test_a_loss_that_is_not_finite_stops_with_a_message(sslmlflow: Command, environment: dict[str, str]) -> None:
    wild = [argument for argument in SMALL if not argument.startswith("--lr")]
    stopped = sslmlflow("pretrain", *wild, "--lr=1e30", "--epochs=4", "--schedule=constant")
    assert stopped.returncode == 1
    assert "Traceback" not in stopped.stderr
    assert "learning rate" in stopped.stderr or "not finite" in stopped.stderr
    left = left_in(environment["MLFLOW_TRACKING_URI"])
    assert left.run.info.status == "FAILED"
    assert [m.params["epoch"] for m in left.milestones] == ["0"]


def test_too_few_images_for_a_batch_are_refused(sslmlflow: Command) -> None:
    refused = sslmlflow("pretrain", "--max_train_images=20", "--batch_size=32")
    assert refused.returncode == 1
    assert "20 training images do not fill one batch of 32" in refused.stderr
