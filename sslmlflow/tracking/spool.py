"""What is to be told to the tracking server, kept on disk until it has been.

The training writes here and never waits for the server. A row is keyed by what it says, so a training that
is killed and repeats some steps says nothing twice.
"""

import math
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sslmlflow.errors import UserError, in_short
from sslmlflow.files import private_database

PATIENCE_SECONDS = 60.0
SCHEMA = """
CREATE TABLE IF NOT EXISTS metrics (
    key TEXT, step INTEGER, value REAL, timestamp INTEGER, milestone INTEGER, sent INTEGER DEFAULT 0,
    PRIMARY KEY (key, step)
);
CREATE INDEX IF NOT EXISTS unsent ON metrics (sent) WHERE sent = 0;
CREATE TABLE IF NOT EXISTS milestones (epoch INTEGER PRIMARY KEY, folder TEXT, model_id TEXT);
CREATE TABLE IF NOT EXISTS dropped (epoch INTEGER PRIMARY KEY);
"""


@dataclass(frozen=True)
class Point:
    """One metric value; `milestone` is the epoch of the milestone that it was measured on, if any."""

    key: str
    step: int
    value: float
    timestamp: int
    milestone: int | None


class Spool:
    """The outbox of one run: a small database that survives a kill at any instant."""

    def __init__(self, path: Path) -> None:
        self.path = private_database(path)
        self._database = sqlite3.connect(path, timeout=PATIENCE_SECONDS, isolation_level=None)
        self._wait_until(self._prepared)

    def _wait_until(self, done: Callable[[], bool]) -> None:
        patience = time.monotonic() + PATIENCE_SECONDS
        with self._told():
            while not done():
                if time.monotonic() > patience:
                    raise UserError(f"{self.path} has been locked for {PATIENCE_SECONDS:.0f} seconds.")
                time.sleep(0.02)

    def _prepared(self) -> bool:
        """Switch to a journal beside the file and make the tables; SQLite waits for nobody who does so meanwhile."""
        try:
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=NORMAL")
            self._database.executescript(SCHEMA)
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            return False
        return True

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:  # the disk is full, does not write, or spoilt the file
            raise UserError(f"cannot write {self.path}: {in_short(error)}") from error

    @contextmanager
    def _at_once(self) -> Iterator[None]:
        """All that is written in the block is kept, or nothing of it."""
        with self._told(), self._database:
            self._database.execute("BEGIN")
            yield

    def add_metrics(self, values: Mapping[str, float], step: int) -> None:
        """Keep metrics of `step`; a value that is already known for this key and step stays as it is."""
        with self._at_once():
            self._insert(values, step, milestone=None)

    def add_milestone(self, epoch: int, folder: Path, values: Mapping[str, float]) -> None:
        """Keep that the milestone in `folder` is to be sent, with the metrics measured on it."""
        with self._at_once():
            self._insert(values, step=epoch, milestone=epoch)
            self._database.execute(
                "INSERT OR IGNORE INTO milestones (epoch, folder) VALUES (?, ?)", (epoch, str(folder))
            )

    def _insert(self, values: Mapping[str, float], step: int, milestone: int | None) -> None:
        bad = [key for key, value in values.items() if not math.isfinite(value)]
        if bad:
            raise ValueError(f"not finite, so not a metric: {', '.join(bad)}")
        now = time.time_ns() // 1_000_000
        self._database.executemany(
            "INSERT OR IGNORE INTO metrics (key, step, value, timestamp, milestone) VALUES (?, ?, ?, ?, ?)",
            [(key, step, value, now, milestone) for key, value in values.items()],
        )

    def _rows(self, query: str, *given: object) -> list[Any]:
        with self._told():
            return self._database.execute(query, given).fetchall()

    def has_milestone(self, epoch: int) -> bool:
        """Whether `add_milestone` was called for this epoch, now or before a kill."""
        return bool(self._rows("SELECT 1 FROM milestones WHERE epoch = ?", epoch))

    def milestone_epochs(self) -> list[int]:
        """The epochs of all milestones that were added, ascending."""
        return [epoch for (epoch,) in self._rows("SELECT epoch FROM milestones ORDER BY epoch")]

    def milestone_values(self, key: str) -> dict[int, float]:
        """One metric of the milestones, by epoch; without those for which it is undefined."""
        return dict(self._rows("SELECT milestone, value FROM metrics WHERE key = ? AND milestone IS NOT NULL", key))

    def metrics_of_milestone(self, epoch: int) -> dict[str, float]:
        """All metrics of one milestone that have a value."""
        return dict(self._rows("SELECT key, value FROM metrics WHERE milestone = ?", epoch))

    def unsent_milestones(self) -> list[tuple[int, Path]]:
        """Epoch and folder of the milestones that the server does not have, oldest first."""
        rows = self._rows("SELECT epoch, folder FROM milestones WHERE model_id IS NULL ORDER BY epoch")
        return [(epoch, Path(folder)) for epoch, folder in rows]

    def milestone_sent(self, epoch: int, model_id: str) -> None:
        """Keep that the server has the milestone as `model_id`."""
        self._rows("UPDATE milestones SET model_id = ? WHERE epoch = ?", model_id, epoch)

    def model_ids(self) -> dict[int, str]:
        """The models of the milestones that the server has, by epoch."""
        return dict(self._rows("SELECT epoch, model_id FROM milestones WHERE model_id IS NOT NULL"))

    def kept_milestones(self) -> list[int]:
        """Epochs of the milestones that the server has and keeps."""
        query = "SELECT epoch FROM milestones WHERE model_id IS NOT NULL AND epoch NOT IN (SELECT epoch FROM dropped)"
        return [epoch for (epoch,) in self._rows(query)]

    def milestone_dropped(self, epoch: int) -> None:
        """Keep that the server need not keep the milestone any more."""
        self._rows("INSERT OR IGNORE INTO dropped (epoch) VALUES (?)", epoch)

    def sent_folders(self) -> list[Path]:
        """Folders of the milestones that the server has; a kill may have left them."""
        return [Path(folder) for (folder,) in self._rows("SELECT folder FROM milestones WHERE model_id IS NOT NULL")]

    def steps(self, key: str) -> list[int]:
        """The steps of a metric's points, sent or not."""
        return [step for (step,) in self._rows("SELECT step FROM metrics WHERE key = ?", key)]

    def unsent_metrics(self, limit: int = 1000) -> list[Point]:
        """The oldest points that the server does not have; those of a milestone once it has that."""
        rows = self._rows(
            """SELECT key, step, value, timestamp, milestone FROM metrics WHERE sent = 0 AND (milestone IS NULL
            OR milestone IN (SELECT epoch FROM milestones WHERE model_id IS NOT NULL)) ORDER BY rowid LIMIT ?""",
            limit,
        )
        return [Point(*row) for row in rows]

    def metrics_sent(self, points: list[Point]) -> None:
        """Keep that the server has these points."""
        with self._at_once():
            self._database.executemany(
                "UPDATE metrics SET sent = 1 WHERE key = ? AND step = ?",
                [(point.key, point.step) for point in points],
            )

    def count_unsent(self) -> int:
        """How many points and milestones the server does not have."""
        (count,) = self._rows(
            """SELECT (SELECT count(*) FROM metrics WHERE sent = 0)
                    + (SELECT count(*) FROM milestones WHERE model_id IS NULL)"""
        )
        return int(count[0])

    def sync(self) -> None:
        """Make all that was kept survive a power failure, as it survives a kill already."""
        # Busy while the other thread does the same.
        self._wait_until(lambda: self._database.execute("PRAGMA wal_checkpoint(FULL)").fetchone()[0] == 0)

    def close(self) -> None:
        """Close the database; what is unsent stays."""
        self._database.close()


def last_step(path: Path, key: str) -> int:
    """The last step of which the spool in this file has a point of this metric; -1 where it has none."""
    with closing(Spool(path)) as spool:
        return max(spool.steps(key), default=-1)


def left_in(path: Path) -> int:
    """How many points and milestones of a run the server does not have; 0 where nothing was ever spooled."""
    if not path.exists():
        return 0
    with closing(Spool(path)) as spool:
        return spool.count_unsent()
