"""The commands that look after runs: what they send, close and delete, and what they leave alone."""

import os
import shutil
import signal
import sqlite3
import time
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts

from sslmlflow.data.cache import Source, cached
from sslmlflow.data.cache import locked as cache_lock
from sslmlflow.tracking.lock import locked
from sslmlflow.tracking.spool import Spool
from tests.conftest import Command
from tests.fork_server import ForkServer
from tests.jobs.small import SMALL, left_in

pytestmark = pytest.mark.slow
TRAINING = ["pretrain", *SMALL, "--epochs=4", "--milestone_every=1"]


def folders(environment: dict[str, str]) -> list[Path]:
    return list(Path(environment["SSLMLFLOW_HOME"], "runs").glob("*/"))


def test_what_was_not_sent_is_sent_later_and_only_then_pruned(
    sslmlflow: Command, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sslmlflow(*TRAINING).returncode == 0
    before = left_in(environment["MLFLOW_TRACKING_URI"])
    losses = before.history("train/loss")
    (folder,) = folders(environment)
    with sqlite3.connect(folder / "spool.db") as spool:  # as if the server had been away for the last five steps
        spool.execute("UPDATE metrics SET sent = 0 WHERE key = 'train/loss' AND step > 7")
    with sqlite3.connect(environment["MLFLOW_TRACKING_URI"].removeprefix("sqlite:///")) as database:
        database.execute("DELETE FROM metrics WHERE key = 'train/loss' AND step > 7")
    assert before.history("train/loss") == losses[:7]
    before.client.update_run(before.run.info.run_id, "RUNNING")
    (folder / "ended").write_text("FAILED")
    spoilt = folder.with_name("0" * 32)
    spoilt.mkdir()
    (spoilt / "spool.db").write_text("no database" * 1000)
    pruned = sslmlflow("prune", "--days=0")
    assert "was not sent to the end; `sslmlflow sync` sends the rest" in pruned.stdout
    assert folder.exists()
    synced = sslmlflow("sync")
    assert synced.returncode == 1, synced.stdout
    assert f"run {spoilt.name}: cannot write {spoilt}/spool.db: file is not a database" in synced.stdout
    assert f"not everything was sent of {spoilt.name}: the same command tries again" in synced.stderr
    shutil.rmtree(spoilt)
    assert f"run {before.run.info.run_id}: sending 5 metric points" in synced.stdout
    after = left_in(environment["MLFLOW_TRACKING_URI"])
    assert after.history("train/loss") == losses
    assert after.run.info.status == "FAILED", "it ended while nobody could be told"
    assert "nothing is left to send" in sslmlflow("sync").stdout
    (folder / "ended").write_text("KILLED")
    before.client.update_run(before.run.info.run_id, "FINISHED")
    monkeypatch.setenv("SSLMLFLOW_HOME", environment["SSLMLFLOW_HOME"])
    with locked(folder.name):
        said = sslmlflow("sync").stdout
        assert "is being worked on: it sends by itself" in said
        assert "nothing else is left to send" in said
        assert "kept: another process on this machine works on run" in sslmlflow("prune", "--days=0").stdout
    assert sslmlflow("sync").returncode == 0
    assert before.client.get_run(folder.name).info.status == "FINISHED", "it came to its end from elsewhere"
    assert "would be freed" in sslmlflow("prune", "--days=0", "--dry_run=true").stdout
    assert "0.0 MB are freed" in sslmlflow("prune", "--days=1").stdout
    assert folder.exists()
    assert f"run {before.run.info.run_id}, " in sslmlflow("prune", "--days=0").stdout
    assert not folder.exists()
    refused = sslmlflow("sync", f"--run={before.run.info.run_id}")
    assert refused.returncode == 1
    assert "nothing is kept of run" in refused.stderr


def test_files_that_may_be_being_written_are_not_pruned_and_looking_makes_nothing_younger(
    sslmlflow: Command, environment: dict[str, str]
) -> None:
    home = Path(environment["SSLMLFLOW_HOME"])
    parts = [home / "cache" / name for name in ("now.1.part", "old.2.part")]
    run = home / "runs" / ("1" * 32)
    run.mkdir(parents=True)
    Spool(run / "spool.db").close()
    (home / "cache").mkdir()
    for path in (*parts, run / "run.json"):
        path.touch()
    for path in (parts[1], run / "run.json"):
        os.utime(path, (time.time() - 10 * 86400,) * 2)
    for _ in range(2):  # which touches the spool of one that was killed
        said = sslmlflow("prune", "--days=5", "--dry_run=true").stdout
        assert f"run {run.name}" in said
    assert sslmlflow("prune", "--days=5").returncode == 0
    assert not run.exists()
    assert sslmlflow("prune", "--days=0").returncode == 0
    assert [path.exists() for path in parts] == [True, False]


def test_decoded_images_are_listed_and_deleted_when_no_process_uses_them(
    sslmlflow: Command, environment: dict[str, str]
) -> None:
    cache = Path(environment["SSLMLFLOW_HOME"], "cache")

    def source(key: str) -> Source:
        return Source(key, 100, (3, 64, 64), lambda indices: (np.zeros((len(indices), 3, 64, 64), np.uint8), {}, {}))

    for key in ("old", "new", "mapped", "written"):
        cached(source(key), cache)
    images = cached(source("mapped"), cache)
    for key in ("old", "mapped", "written"):
        os.utime(cache / f"{key}.u8", (time.time() - 40 * 86400,) * 2)
    download = cache.with_name("data") / "cifar"
    download.mkdir(parents=True)
    (download / "batch.bin").write_bytes(bytes(2_000_000))
    listed = sslmlflow("prune", "--dry_run")
    assert "decoded images old.u8, 1.2 MB, last used 40 days ago" in listed.stdout, listed.stderr
    assert "kept: decoded images new.u8, 1.2 MB, last used 0 days ago" in listed.stdout
    assert f"kept: download {download}, 2.0 MB" in listed.stdout
    assert (cache / "old.u8").exists()
    with cache_lock(cache / "written.lock"):
        pruned = sslmlflow("prune").stdout
    assert pruned.count("a process is using them") == 2
    assert pruned.endswith("1.2 MB are freed\n")
    assert sorted(path.name for path in cache.glob("*.u8")) == ["mapped.u8", "new.u8", "written.u8"]
    assert not (cache / "old.json").exists()
    assert images.images.read(np.arange(3)).sum() == 0
    del images
    cached(source("written"), cache)
    assert "1.2 MB are freed" in sslmlflow("prune").stdout, "opening them has made the written ones young"


def test_dead_runs_are_closed_by_whoever_starts_and_by_reap(
    sslmlflow: Command, fork_server: ForkServer, environment: dict[str, str], tmp_path: Path
) -> None:
    client = MlflowClient(environment["MLFLOW_TRACKING_URI"])
    logs = tmp_path / "first.txt", tmp_path / "second.txt"

    def start(log: Path) -> int:
        files = {"folder": str(tmp_path), "stdout": str(log), "stderr": str(log)}
        process = fork_server.start(arguments=["pretrain", *SMALL, "--epochs=5000"], environment=environment, **files)
        patience = time.monotonic() + 120
        log.touch()
        while "epoch 1/" not in log.read_text() and time.monotonic() < patience:
            time.sleep(0.05)
        return process

    os.kill(start(logs[0]), signal.SIGKILL)
    fork_server.wait()
    (dead,) = client.search_runs(["0"])
    assert dead.info.status == "RUNNING"
    alive = start(logs[1])
    assert f"marked as killed: run {dead.info.run_id}" in logs[1].read_text()
    assert client.get_run(dead.info.run_id).info.status == "KILLED"
    silent = {"sslmlflow.heartbeat": str(int(time.time()) - 700), "sslmlflow.host": "other"}
    other = client.create_run("0", tags=silent).info.run_id
    os.kill(alive, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(fork_server.wait()) == 143
    assert "0 of 1 running runs were dead" in sslmlflow("reap", "--silent_minutes=13").stdout
    assert "no sign of life from other for 1" in sslmlflow("reap").stdout
    assert client.get_run(other).info.status == "KILLED"


def test_milestones_that_are_not_to_be_kept_are_deleted_with_their_files(
    sslmlflow: Command, environment: dict[str, str]
) -> None:
    assert sslmlflow(*TRAINING, "--keep=2").returncode == 0
    left = left_in(environment["MLFLOW_TRACKING_URI"])
    values = dict(left.history("label_free/crr_adjusted"))
    assert sorted(values) == [0, 1, 2, 3, 4], "what was measured stays"
    best = sorted(values, key=lambda epoch: -values[epoch])[:2]
    kept = {int(model.params["epoch"]) for model in left.milestones}
    assert kept == {0, 4, *best}
    root = Path(download_artifacts(left.milestones[0].artifact_location)).parents[1]
    assert len(list(root.glob("m-*/artifacts/encoder.safetensors"))) == len(kept)
    refused = sslmlflow(*TRAINING, "--keep=best")
    assert refused.returncode == 2
    assert "keep=best is not possible. Allowed: all, or a whole number of at least 1" in refused.stderr
