"""Trainings behind a proxy that breaks connections, loses replies, hangs, answers 500 and is away for a while."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.faults.chain import TINY, Calm, NewChain, losses
from tests.faults.conftest import Told
from tests.faults.proxy import Proxy
from tests.faults.size import times
from tests.jobs.small import left_in
from tests.mlflow_server import free_port, running_server

FAULTS = times(3, 200)  # of each kind
OUTAGE_SECONDS = times(5, 60)
TRAINING = [*TINY, f"--epochs={times(24, 40)}", "--milestone_every=4"]
# A request that hangs is given up after a second; MLflow itself waits two seconds between its last two tries.
PATIENCE = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0",
}


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Where a real server listens."""
    chosen = free_port()
    folder = tmp_path_factory.mktemp("server")
    with running_server(folder, os.environ, chosen):
        yield chosen


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "keep"),
    [("error", "all"), ("drop", "all"), ("lost", "2"), ("hang", "2"), ("restart", "2")],
)
def test_server_behind_a_bad_connection(
    new_chain: NewChain, calm: Calm, port: int, fault: str, keep: str, tell: Told
) -> None:
    training = [*TRAINING, f"--keep={keep}"]
    expected = calm(*training)
    proxy = Proxy(port, fault)
    lost, trainings = 0, 0
    while proxy.count < FAULTS:
        trainings += 1
        name = f"{fault} {trainings}"
        chain = new_chain(
            *training, MLFLOW_TRACKING_URI=f"http://127.0.0.1:{proxy.port}", MLFLOW_EXPERIMENT_NAME=name, **PATIENCE
        )
        proxy.share = 0.15
        while chain.run() != 0:
            assert chain.starts < 5, chain.said()
        proxy.share = 0.0
        assert chain.run(arguments=["sync"]) == 0, chain.said()
        server = f"http://127.0.0.1:{port}"
        experiment = MlflowClient(server).get_experiment_by_name(name)
        found = losses(left_in(server, experiment.experiment_id), expected)
        lost += sum(found.values())
        assert not lost, f"{found}\n{chain.said()}"
    proxy.stop()
    tell(f"T3 {fault}: {proxy.count} times, {trainings} trainings: {lost} points, milestones or runs lost or doubled")


@pytest.mark.slow
def test_stopped_while_the_server_does_not_answer(new_chain: NewChain, calm: Calm, port: int, tell: Told) -> None:
    """A stop waits some seconds, a second signal not even that; `sync` tells what happened, through faults, too."""
    proxy = Proxy(port)
    proxy.hang_seconds = 300  # MLflow's client gives up after thirty, three times
    place = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{proxy.port}", "MLFLOW_EXPERIMENT_NAME": "stopped"}
    server = MlflowClient(f"http://127.0.0.1:{port}")
    # As under `mlflow run`, which has made a run before.
    own = server.create_run(server.create_experiment("stopped")).info.run_id
    chain = new_chain(*TRAINING, MLFLOW_RUN_ID=own, **place)
    for signals in (1, 2):
        child = chain.begin()
        chain.wait_until_it_trains(child)
        proxy.fault, proxy.share = "hang", 1.0
        started = time.monotonic()
        os.kill(child, signal.SIGTERM)
        if signals == 2:
            time.sleep(6)  # more than that of one wish
            os.kill(child, signal.SIGTERM)
        assert chain.wait() == 143, chain.said()
        waited = time.monotonic() - started
        assert waited < 25, "Docker kills after ten seconds; the rest is what a busy machine may take longer"
        proxy.fault, proxy.share = "none", 0.0
        run = server.get_run(own)
        assert run.info.status == "RUNNING"
    assert "sslmlflow sync" in chain.said()
    chain.environment |= PATIENCE
    proxy.fault, proxy.share = "lost", 0.3
    for _ in range(8):
        if chain.run(arguments=["sync"]) == 0:
            break
    assert server.get_run(run.info.run_id).info.status == "KILLED", chain.said()
    proxy.share = 0.0
    assert chain.run() == 0, chain.said()
    found = losses(left_in(f"http://127.0.0.1:{port}", run.info.experiment_id), calm(*TRAINING))
    proxy.stop()
    tell(f"T3 stopped while the server hangs: 2 stops, the last in {waited:.0f} s, {sum(found.values())} lost")
    assert not any(found.values()), f"{found}\n{chain.said()}"


@pytest.mark.slow
def test_server_that_is_away_for_a_while(
    new_chain: NewChain, calm: Calm, environment: dict[str, str], tmp_path: Path, tell: Told
) -> None:
    """The server itself is ended and started again while the training goes on."""
    expected = calm(*TRAINING)
    port = free_port()
    with running_server(tmp_path, environment, port) as server:
        chain = new_chain(*TRAINING, MLFLOW_TRACKING_URI=server, **PATIENCE)
        chain.wait_until_it_trains(chain.begin())
    time.sleep(OUTAGE_SECONDS)
    with running_server(tmp_path, environment, port):
        assert chain.wait() == 0, chain.said()
        found = losses(left_in(server), expected)
    assert "trying again" in chain.said(), "the outage was not noticed"
    tell(f"T3 outage of {OUTAGE_SECONDS} s: {sum(found.values())} points, milestones or runs lost or doubled")
    assert not any(found.values()), f"{found}\n{chain.said()}"
