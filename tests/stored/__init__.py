"""What earlier builds wrote, one archive per build, and how a test unpacks it somewhere else."""

import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path

ROOT = "/stored"  # the folder in which the archives were made
BUILDS = tuple(sorted(path.name.removesuffix(".tar.xz") for path in Path(__file__).parent.glob("*.tar.xz")))


def unpack(build: str, folder: Path) -> None:
    """Unpack the store of a build, so that every path that it holds lies below `folder`.

    It leaves `mlflow.db` and `mlruns`, `home` (SSLMLFLOW_HOME), `images` (a data set of dataset=folder).
    """
    with tarfile.open(Path(__file__).parent / f"{build}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    for path in [*folder.glob("*.db"), *folder.glob("home/**/*.db")]:
        with closing(sqlite3.connect(path)) as database, database:
            _move(database, str(folder))


def _move(database: sqlite3.Connection, folder: str) -> None:
    tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    for table in tables:
        for _, column, kind, *_ in database.execute(f'PRAGMA table_info("{table}")').fetchall():
            if kind.startswith(("VARCHAR", "TEXT")):
                query = f'UPDATE "{table}" SET "{column}" = replace("{column}", ?, ?) WHERE instr("{column}", ?)'
                database.execute(query, (f"{ROOT}/", f"{folder}/", f"{ROOT}/"))
