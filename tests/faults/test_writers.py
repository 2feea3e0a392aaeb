"""Many processes that begin at once, on a SQLite file that one of them has to make, and write to it."""

from itertools import cycle, islice
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.faults.conftest import Told
from tests.faults.size import times
from tests.faults.writers import STEPS
from tests.fork_server import ForkServer

TRIES = times(8, 200)
WRITERS = (4, 1, 4, 32, 4, 8, 4, 16, 4, 2)


@pytest.mark.slow
def test_many_writers(fork_server: ForkServer, environment: dict[str, str], tmp_path: Path, tell: Told) -> None:
    failed = wrong = written = 0
    log = tmp_path / "said.txt"
    expected = {
        "train/loss": [(step, 1.0 / (step + 1)) for step in range(STEPS)],
        "train/lr": [(step, 0.1 * step) for step in range(STEPS)],
    }
    for number, count in enumerate(islice(cycle(WRITERS), TRIES)):
        folder = tmp_path / str(number)
        folder.mkdir()
        uri = f"sqlite:///{folder}/mlflow.db"
        fork_server.start(
            module="tests.faults.writers",
            arguments=[str(count), str(folder)],
            environment={**environment, "MLFLOW_TRACKING_URI": uri},
            folder=str(folder),
            stdout=str(log),
            stderr=str(log),
        )
        failed += fork_server.wait() != 0
        client = MlflowClient(uri)
        runs = client.search_runs(["0"])
        wrong += sorted(int(run.info.run_name) for run in runs) != list(range(count))
        for run in runs:
            for key, points in expected.items():
                found = sorted((m.step, m.value) for m in client.get_metric_history(run.info.run_id, key))
                wrong += found != points
                written += len(found)
    tell(
        f"T4: {TRIES} cold starts of 1 to {max(WRITERS)} writers: {failed} failed, {written:,} points, "
        f"{wrong} series or sets of runs not exactly as written"
    )
    assert not failed, log.read_text()[-4000:]
    assert not wrong
    assert "trying again" not in log.read_text()
