"""Command `prune`: make room in SSLMLFLOW_HOME."""

import shutil
import time
from pathlib import Path

from sslmlflow.config.upkeep import Prune
from sslmlflow.home import home
from sslmlflow.tracking.lock import is_busy
from sslmlflow.tracking.run import ENDED
from sslmlflow.tracking.spool import Spool


def run(config: Prune) -> None:
    """Prune from the command line."""
    before = time.time() - 86400 * config.days
    freed = 0
    for folder in sorted((home() / "runs").glob("*/")):
        if _latest(folder) > before or is_busy(folder.name):
            continue
        if not _is_sent(folder):
            print(f"kept: run {folder.name} was not sent to the end; `sslmlflow sync` sends the rest")
            continue
        freed += _size(folder)
        print(f"run {folder.name}, {_size(folder) / 1e6:.1f} MB")
        if not config.dry_run:
            shutil.rmtree(folder, ignore_errors=True)
    for part in home().rglob("*.part"):  # of processes that were killed while they wrote
        if part.is_file() and part.stat().st_mtime < before:
            freed += part.stat().st_size
            if not config.dry_run:
                part.unlink(missing_ok=True)
    print(f"{freed / 1e6:.1f} MB {'would be' if config.dry_run else 'are'} freed")


def _is_sent(folder: Path) -> bool:
    if (folder / ENDED).exists():
        return False
    if not (folder / "spool.db").exists():
        return True
    spool = Spool(folder / "spool.db")
    left = spool.count_unsent()
    spool.close()
    return left == 0


def _latest(folder: Path) -> float:
    return max(path.stat().st_mtime for path in [folder, *folder.rglob("*")])


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
