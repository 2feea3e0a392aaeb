"""The one MLflow run of a job: how it ends, which one is gone on with, and what is refused."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
import pytest
from matplotlib.figure import Figure
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from sslmlflow.config.options import texts_of
from sslmlflow.config.pretrain import Pretrain
from sslmlflow.errors import UserError
from sslmlflow.tracking.liveness import HEARTBEAT, HOST
from sslmlflow.tracking.run import tracked_run
from tests.conftest import ROOT, NewDatabase

CONFIG = Pretrain(lr=0.1, seed=1)
IMAGES = {"training images": "aaa", "held-out images": "bbb"}
ENDS = [(None, "FINISHED"), (RuntimeError, "FAILED"), (SystemExit, "FAILED"), (KeyboardInterrupt, "KILLED")]


@pytest.fixture(scope="module")
def client(new_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowClient]:
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(new_database(tmp_path_factory.mktemp("mlflow")))
    yield MlflowClient()
    mlflow.set_tracking_uri(before)


@pytest.fixture(autouse=True)
def experiment_id(client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    for name in ("RUN_ID", "EXPERIMENT_ID", "HTTP_REQUEST_MAX_RETRIES", "HTTP_REQUEST_TIMEOUT"):
        monkeypatch.setenv(f"MLFLOW_{name}", "")  # so that it is as before in the end, whoever sets it meanwhile
        monkeypatch.delenv(f"MLFLOW_{name}")
    mlflow.set_tracking_uri(client.tracking_uri)
    monkeypatch.setenv("SSLMLFLOW_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", tmp_path.name)
    return str(client.create_experiment(tmp_path.name))


def do(
    config: Pretrain = CONFIG, resume: str = "none", data: Any = IMAGES, job: str = "pretrain", error: Any = None
) -> str:
    """The id of the run of a job that ends by `error`."""
    ended = pytest.raises(error) if error else nullcontext()
    with ended, tracked_run(job, config, "a name", resume, data) as run:
        assert run.client.get_run(run.run_id).info.status == "RUNNING"
        if error:
            raise error
    return run.run_id


fail = partial(do, error=RuntimeError)


@pytest.mark.parametrize(("error", "status"), ENDS)
def test_it_says_how_it_ended(client: MlflowClient, error: type[BaseException] | None, status: str) -> None:
    run = client.get_run(do(error=error))
    assert (run.info.status, run.info.run_name) == (status, "a name")
    assert run.data.params == texts_of(CONFIG)


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("call", ["create_run", "update_run", "set_terminated"])
def test_interrupted_at_any_moment_it_is_ended(
    client: MlflowClient, experiment_id: str, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    real = getattr(MlflowClient, call)

    def interrupted(*given: Any, **named: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        return real(*given, **named)

    monkeypatch.setattr(MlflowClient, call, interrupted)
    with pytest.raises(KeyboardInterrupt), tracked_run("pretrain", CONFIG, "a name"):
        pass
    (run,) = client.search_runs([experiment_id])
    assert run.info.status == ("FINISHED" if call == "set_terminated" else "KILLED")


def test_a_figure_of_an_epoch_is_kept_once(client: MlflowClient) -> None:
    with tracked_run("evaluate", CONFIG, "a name") as run:
        for name, epoch in (("umap", 2), ("umap", 2), ("umap", 20), ("map", 2)):
            run.log_step_figure(Figure((1, 1)), name, epoch)
    pictures = [Path(file.path).name for file in client.list_artifacts(run.run_id, "images")]
    full = [name.split("+timestamp")[0] for name in pictures if name.endswith(".png")]
    assert sorted(full) == ["map+step+2", "umap+step+2", "umap+step+20"]


def test_under_mlflow_run_it_is_the_run_that_mlflow_made(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = client.create_experiment("of mlflow run")
    given = client.create_run(elsewhere).info.run_id
    client.log_param(given, "seed", "'1'")  # MLflow logs what it was given, in the quotes of its shell
    monkeypatch.setenv("MLFLOW_RUN_ID", given)
    assert do() == given
    (run,) = client.search_runs([elsewhere])
    assert (run.info.run_id, run.info.status) == (given, "FINISHED")
    assert run.data.params == {**texts_of(CONFIG), "seed": "'1'"}


def test_auto_goes_on_with_the_latest_unfinished_run(client: MlflowClient, experiment_id: str) -> None:
    first, second = fail(), do(error=KeyboardInterrupt)
    assert fail(replace(CONFIG, workers=2), resume="auto") == second  # the result does not depend on it
    assert do(resume="auto") == second
    assert do(resume="auto") == first
    assert do(resume="auto") not in (first, second)  # both are finished now
    assert len(client.search_runs([experiment_id])) == 3


OTHERS: dict[str, dict[str, Any]] = {
    "seed": {"config": replace(CONFIG, seed=2)},
    "images": {"data": {**IMAGES, "held-out images": "ccc"}},
    "entry point": {"job": "main"},
    "finished": {"error": None},
}


@pytest.mark.parametrize("other", OTHERS)
def test_auto_goes_on_with_no_other_run(other: str) -> None:
    assert fail(**OTHERS[other]) != do(resume="auto")


@pytest.mark.parametrize("times", [1, 3])
def test_a_run_whose_making_was_answered_by_no_reply_is_there_once(
    client: MlflowClient, experiment_id: str, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    def lose_the_reply(_: MlflowClient, *arguments: Any, **more: Any) -> None:
        for _ in range(times):  # as often as HTTP is tried
            create_run(client, *arguments, **more)
        raise MlflowException("the connection broke")

    create_run = MlflowClient.create_run
    monkeypatch.setattr(MlflowClient, "create_run", lose_the_reply)
    run_id = do()
    (made,) = client.search_runs([experiment_id])
    assert (made.info.run_id, made.info.status) == (run_id, "FINISHED")


def test_a_run_that_could_not_be_made_is_told(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **more: Any) -> None:
        raise MlflowException("no more runs")

    monkeypatch.setattr(MlflowClient, "create_run", refuse)
    with pytest.raises(MlflowException, match="no more runs"):
        do()


def test_a_run_whose_maker_was_killed_before_the_reply_is_gone_on_with(
    client: MlflowClient, experiment_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(_: MlflowClient, *arguments: Any, **more: Any) -> None:
        create_run(client, *arguments, **more)
        raise MemoryError

    create_run = MlflowClient.create_run
    monkeypatch.setattr(MlflowClient, "create_run", die)
    with pytest.raises(MemoryError):
        do()
    monkeypatch.setattr(MlflowClient, "create_run", create_run)
    (made,) = client.search_runs([experiment_id])
    assert do(replace(CONFIG, seed=2), resume="auto") != made.info.run_id
    assert do(resume="auto") == made.info.run_id


def test_a_run_of_another_home_is_left_to_it(
    client: MlflowClient, experiment_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two machines, one tracking server: the checkpoints of the one are not at the other, which knows nothing of it."""
    monkeypatch.setenv("MLFLOW_RUN_ID", client.create_run(experiment_id).info.run_id)
    run_id = fail()
    monkeypatch.delenv("MLFLOW_RUN_ID")
    monkeypatch.setenv("SSLMLFLOW_HOME", str(tmp_path / "elsewhere"))
    assert do(resume="auto") != run_id


def test_what_changed_is_named_and_refused(client: MlflowClient) -> None:
    run_id = fail()
    changed = "seed was 1, now 2; lr was 0.1, now 0.2; training images was aaa, now ccc. "
    with pytest.raises(UserError, match=f"cannot be resumed with other parameters or images: {changed}"):
        do(replace(CONFIG, lr=0.2, seed=2), run_id, {**IMAGES, "training images": "ccc"})
    with pytest.raises(UserError, match=f"{run_id} was not started by main"):
        do(resume=run_id, job="main")
    run = client.get_run(run_id)
    assert (run.info.status, run.data.params) == ("FAILED", texts_of(CONFIG))
    assert do(replace(CONFIG, workers=2), resume=run_id) == run_id


def test_what_changed_is_refused_from_another_home_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = fail()
    monkeypatch.setenv("SSLMLFLOW_HOME", str(tmp_path / "elsewhere"))
    with pytest.raises(UserError, match="seed was 1, now 2"):
        do(replace(CONFIG, seed=2), resume=run_id)  # MLflow would show a seed that is not the training's


def test_a_run_that_mlflow_made_points_to_the_one_gone_on_with(
    client: MlflowClient, experiment_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (client.create_run(experiment_id).info.run_id for _ in range(2))
    monkeypatch.setenv("MLFLOW_RUN_ID", first)
    assert fail(resume="auto") == first
    assert "resumed_as" not in client.get_run(first).data.tags
    monkeypatch.setenv("MLFLOW_RUN_ID", second)
    assert fail(resume="auto") == first
    assert client.get_run(second).data.tags["resumed_as"] == first
    monkeypatch.delenv("MLFLOW_RUN_ID")
    assert do(resume="auto") == first, "the run that only points is none to go on with"


TRAINING = """
import os, time
from tests.tracking.test_run import CONFIG, IMAGES, tracked_run

with tracked_run("pretrain", CONFIG, "a name", data=IMAGES) as run:
    if worker := os.fork():
        print(run.run_id, worker, flush=True)
    time.sleep(120)
    os._exit(0)
"""


@pytest.mark.slow
def test_a_run_is_one_processs_at_a_time(client: MlflowClient) -> None:
    training = subprocess.Popen([sys.executable, "-c", TRAINING], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert training.stdout
    run_id, worker = training.stdout.readline().split()
    try:
        for resume in (run_id, "auto"):
            with pytest.raises(UserError, match=f"another process on this machine works on run {run_id}"):
                do(resume=resume)
        assert client.get_run(run_id).info.status == "RUNNING"
        training.kill()
        training.wait(30)
        assert do(resume="auto") == run_id
    finally:
        training.kill()
        os.kill(int(worker), 9)  # a worker of the killed training, which did not stand in the way


@pytest.mark.slow
@pytest.mark.timeout(60)  # MLflow's own patience is minutes
def test_a_server_that_does_not_answer_is_named() -> None:
    mlflow.set_tracking_uri("http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"no answer from the tracking server http://127\.0\.0\.1:9: "):
        do()


@pytest.mark.parametrize(("others", "warned"), [(15, False), (16, True)])
def test_many_jobs_on_one_sqlite_file_are_advised_to_take_a_server(
    client: MlflowClient, experiment_id: str, others: int, warned: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    signs = {HEARTBEAT: str(int(time.time())), HOST: "another machine"}
    runs = [client.create_run(experiment_id, tags=signs).info.run_id for _ in range(others)]
    do()
    said = "16 jobs write to one SQLite file and wait for each other: `mlflow server` suits so many better"
    assert (said in capsys.readouterr().out) == warned
    for run_id in runs:
        client.set_terminated(run_id)
