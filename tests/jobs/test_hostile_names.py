"""Names and tags that others wrote, and damaged files: printed on one line, no markup, no formula, no traceback."""

import csv
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts

from tests.conftest import Command
from tests.stored import BUILDS, unpack
from tests.stored.make import SIMCLR

NAME = "=cmd|' /C calc'!A0\n\x1b]0;title\x07\x1b[2J\u202e<script>x</script>![i](http://x)"


@pytest.fixture
def stored(tmp_path: Path, environment: dict[str, str]) -> MlflowClient:
    """What a build has left, in the home and the database of the commands."""
    unpack(BUILDS[-1], tmp_path)
    environment["MLFLOW_TRACKING_URI"] = f"sqlite:///{tmp_path}/mlflow.db"
    return MlflowClient(environment["MLFLOW_TRACKING_URI"])


def test_a_hostile_name_is_escaped_wherever_it_is_shown(
    stored: MlflowClient, sslmlflow: Command, tmp_path: Path
) -> None:
    found = stored.search_runs(["0"], "tags.`sslmlflow.entry_point` = 'pretrain' AND status = 'FINISHED'")
    run_id = found[0].info.run_id
    stored.update_run(run_id, name=NAME)
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database, database:
        for table in ("logged_model_tags", "tags"):
            key = {"logged_model_tags": "tag_key", "tags": "key"}[table]
            value = {"logged_model_tags": "tag_value", "tags": "value"}[table]
            database.execute(
                f"UPDATE {table} SET {value} = ? WHERE {key} LIKE 'undefined.%' OR {key} = 'sslmlflow.alarms'", (NAME,)
            )
    done = sslmlflow("report", f"--runs={run_id}")
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    assert not any(character in said for character in "\x1b\x07\u202e")
    assert r"=cmd|' /C calc'!A0\n\x1b]0;title" in said
    reports = f"tags.`mlflow.parentRunId` = '{run_id}' AND tags.`sslmlflow.entry_point` = 'report'"
    report = stored.search_runs(["0"], reports)[0]
    folder = Path(download_artifacts(report.info.artifact_uri))
    for markdown in ((folder / "report.md").read_text(), report.data.tags["mlflow.note.content"]):
        assert r"=cmd\|' /C calc'!A0\n" in markdown
        assert not any(markup in markdown for markup in ("<script", "</script", "](", "\x1b", "\u202e"))
    assert report.info.run_name.isprintable()
    cells = 0
    for file in folder.glob("*.csv"):
        for row in csv.reader(file.read_text().splitlines()):
            cells += sum("cmd" in cell for cell in row)
            assert not any(cell.startswith(("=", "@", "\t")) for cell in row)
    assert cells


def test_a_damaged_run_json_is_named(stored: MlflowClient, sslmlflow: Command, tmp_path: Path) -> None:
    unfinished = "tags.`sslmlflow.entry_point` = 'pretrain' AND status != 'FINISHED'"
    run_id = stored.search_runs(["0"], unfinished)[0].info.run_id
    for content in (b"", b"{", b"[1]", b'{"seed": 1}', b"\xff\xfe"):
        (tmp_path / "home" / "runs" / run_id / "run.json").write_bytes(content)
        done = sslmlflow("pretrain", *SIMCLR, "--epochs=6", "--seed=1", f"--resume={run_id}")
        assert done.returncode == 1
        assert f"{run_id}/run.json is damaged" in done.stderr
        assert f"--resume={run_id}" in done.stderr
        assert "Traceback" not in done.stderr
