"""A training killed again and again is, bit for bit, the training that nobody disturbed."""

import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.fork_server import ForkServer
from tests.jobs.small import SMALL, Left, left_in

KILLS = 11
EPOCHS = 60


def _run(
    server: ForkServer, request: dict[str, Any], kill_after: float | None = None, once_it_trains: bool = False
) -> int:
    """Run to the end, or until killed so many seconds after its start or its first epoch; the wait status."""
    log = Path(request["stdout"])
    told = log.stat().st_size if log.exists() else 0
    child = server.start(**request)
    if kill_after is not None:
        patience = time.monotonic() + 120
        while once_it_trains and "\nepoch" not in log.read_text()[told:] and time.monotonic() < patience:
            time.sleep(0.01)
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    return server.wait()


def _train(server: ForkServer, environment: dict[str, str], folder: Path, arguments: list[str], kills: int) -> Left:
    folder.mkdir()
    own = {
        **environment,
        "SSLMLFLOW_HOME": str(folder / "home"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
    }
    log = folder / "output.txt"
    request = {
        "arguments": [*arguments, "--resume=auto"],
        "environment": own,
        "folder": str(folder),
        "stdout": str(log),
        "stderr": str(log),
    }
    moments = random.Random(str(arguments))
    killed = 0
    while killed < kills:
        # Most kills hit the training, every third anything from the very start on.
        trains = killed % 3 > 0
        moment = moments.uniform(0.0, 0.4) if trains else moments.uniform(0.0, 1.2)
        status = _run(server, request, moment, once_it_trains=trains)
        assert os.WIFSIGNALED(status), f"ended by itself after {killed} kills: {log.read_text()[-2000:]}"
        killed += 1
    status = _run(server, request)
    assert status == 0, log.read_text()[-4000:]
    went_on = log.read_text().count("going on with run")
    print(f"{killed} kills; went on from a checkpoint {went_on} times")
    assert went_on >= kills // 2, "killed too early to test anything"
    return left_in(own["MLFLOW_TRACKING_URI"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "workers"),
    [
        (["--method=simclr"], (0, 2)),
        (["--method=moco-v2", "--method_options=queue_size=80,hidden_width=64"], (0,)),
    ],
)
def test_killed_training_ends_bit_identical(
    fork_server: ForkServer, environment: dict[str, str], tmp_path: Path, method: list[str], workers: tuple[int, ...]
) -> None:
    arguments = ["pretrain", *SMALL, *method, f"--epochs={EPOCHS}", "--milestone_every=7", "--checkpoint_minutes=0.003"]
    calm = _train(fork_server, environment, tmp_path / "calm", arguments, kills=0)
    for count in workers:
        ways = [*arguments, f"--workers={count}"]
        stormy = _train(fork_server, environment, tmp_path / f"stormy-{count}", ways, kills=KILLS)
        _check_same(stormy, calm)


def _check_same(stormy: Left, calm: Left) -> None:
    assert stormy.run.info.status == "FINISHED"
    assert [m.params["epoch"] for m in stormy.milestones] == [m.params["epoch"] for m in calm.milestones]
    assert {str(m.status) for m in stormy.milestones} == {"READY"}
    calm_files, stormy_files = calm.files(), stormy.files()
    assert calm_files.keys() == stormy_files.keys()
    assert len(calm_files) == 2 * 10
    differing = [key for key in calm_files if calm_files[key] != stormy_files[key]]
    assert not differing
    steps = 3 * EPOCHS
    for key in ("train/loss", "train/lr"):
        assert [step for step, _ in stormy.history(key)] == list(range(1, steps + 1))
        assert stormy.history(key) == calm.history(key)
    for key in ("label_free/crr_adjusted", "early/crr", "label_free/rankme"):
        assert stormy.history(key) == calm.history(key)
