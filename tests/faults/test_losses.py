"""The scale on which all faults are weighed: whatever is lost, doubled or changed moves it."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults.chain import TINY, NewChain, losses

pytestmark = pytest.mark.slow
EPOCH_2 = "SELECT model_id FROM logged_model_params WHERE param_value = '2'"


def sql(*statements: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        with closing(sqlite3.connect(folder / "mlflow.db")) as database, database:
            for statement in statements:
                assert database.execute(statement).rowcount == 1, statement

    return damage


def flip_a_bit(folder: Path) -> None:
    path = next(folder.rglob("encoder.safetensors"))
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def again(table: str, where: str, **changed: str) -> str:
    """Insert a row once more, with something changed that tells it from the first."""
    columns = {
        "metrics": ["key", "value", "timestamp", "run_uuid", "step", "is_nan"],
        "logged_model_metrics": [
            *("model_id", "metric_name", "metric_timestamp_ms", "metric_step", "metric_value", "experiment_id"),
            "run_id",
        ],
    }[table]
    taken = ", ".join(changed.get(column, column) for column in columns)
    return f"INSERT INTO {table} ({', '.join(columns)}) SELECT {taken} FROM {table} WHERE {where}"


DAMAGE: dict[str, Callable[[Path], None]] = {
    "milestones lost": sql(f"UPDATE logged_models SET lifecycle_stage = 'deleted' WHERE model_id = ({EPOCH_2})"),
    "milestones too many": sql(
        "UPDATE logged_model_params SET param_value = '4' WHERE param_key = 'epoch' AND param_value = '2'"
    ),
    "milestones not whole": sql(f"UPDATE logged_models SET status = 1 WHERE model_id = ({EPOCH_2})"),
    "milestones the run does not name": sql(f"DELETE FROM inputs WHERE destination_id = ({EPOCH_2})"),
    "weights that differ": flip_a_bit,
    "points lost": sql("DELETE FROM metrics WHERE key = 'early/crr' AND step = 2"),
    "points too many": sql(again("metrics", "key = 'train/loss' AND step = 7", timestamp="timestamp + 1")),
    "milestones' points lost": sql(
        f"UPDATE logged_model_metrics SET metric_value = metric_value * (1 + 1e-15) WHERE model_id = ({EPOCH_2}) "
        "AND metric_name = 'label_free/rankme'"
    ),
    "milestones' points too many": sql(
        again(
            "logged_model_metrics",
            f"model_id = ({EPOCH_2}) AND metric_name = 'label_free/rankme'",
            metric_timestamp_ms="metric_timestamp_ms + 1",
        )
    ),
    "runs not finished": sql("UPDATE runs SET status = 'KILLED'"),
}


def restore(whole: Path, folder: Path) -> None:
    shutil.copytree(whole / "mlruns", folder / "mlruns", dirs_exist_ok=True)
    names = whole / "mlflow.db", folder / "mlflow.db"
    with closing(sqlite3.connect(names[0])) as kept, closing(sqlite3.connect(names[1])) as database:
        kept.backup(database)  # MLflow has it open, and would not see that the file was exchanged


def test_all_that_can_be_damaged_is_seen(new_chain: NewChain, tmp_path: Path) -> None:
    calm, damaged = (new_chain(*TINY, "--epochs=4", "--milestone_every=2") for _ in range(2))
    for chain in (calm, damaged):
        assert chain.run() == 0, chain.said()
    expected = calm.left()
    assert not any(losses(damaged.left(), expected).values())
    shutil.copytree(damaged.folder, tmp_path / "whole")
    assert set(DAMAGE) == set(losses(expected, expected))
    for what, damage in DAMAGE.items():
        damage(damaged.folder)
        found = losses(damaged.left(), expected)
        assert found[what] == 1, f"{what}: {found}"
        restore(tmp_path / "whole", damaged.folder)
