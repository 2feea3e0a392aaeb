"""Command `prune`: make room in SSLMLFLOW_HOME."""

import contextlib
import shutil
import time
from pathlib import Path

from sslmlflow.config.upkeep import Prune
from sslmlflow.data.kept_caches import KeptCache, kept_caches
from sslmlflow.errors import UserError
from sslmlflow.home import home
from sslmlflow.tracking.lock import locked
from sslmlflow.tracking.run import ENDED
from sslmlflow.tracking.spool import left_in

WRITING_SECONDS = 3600.0  # a file that is being written changes more often


def run(config: Prune) -> None:
    """Prune from the command line."""
    before = time.time() - 86400 * config.days
    runs = sorted((home() / "runs").glob("*/"))
    freed = sum(_prune(folder, before, config.dry_run) for folder in runs)
    for part in home().rglob("*.part"):  # of processes that were killed while they wrote
        if part.is_file() and part.stat().st_mtime < min(before, time.time() - WRITING_SECONDS):
            freed += part.stat().st_size
            if not config.dry_run:
                part.unlink(missing_ok=True)
    freed += sum(_prune_cache(cache, before, config.dry_run) for cache in kept_caches(home() / "cache"))
    for downloads in sorted((home() / "data").glob("*")):
        print(f"kept: download {downloads}, {_size(downloads) / 1e6:.1f} MB; delete it by hand if it is not needed")
    print(f"{freed / 1e6:.1f} MB {'would be' if config.dry_run else 'are'} freed")


def _prune_cache(cache: KeptCache, before: float, dry_run: bool) -> int:
    """Delete a cache of decoded images that was not used lately and is not in use; the bytes that this frees."""
    days = (time.time() - cache.used) / 86400
    named = f"decoded images {cache.pixels.name}, {cache.size / 1e6:.1f} MB, last used {days:.0f} days ago"
    if cache.used > before or not cache.remove(dry_run):
        print(f"kept: {named}{'' if cache.used > before else '; a process is using them'}")
        return 0
    print(named)
    return cache.size


def _prune(folder: Path, before: float, dry_run: bool) -> int:
    """Delete a run's folder, if it is old and nobody works on it; the bytes that this frees."""
    if _latest(folder) > before:
        return 0
    try:
        with locked(folder.name):
            if (folder / ENDED).exists() or left_in(folder / "spool.db"):
                print(f"kept: run {folder.name} was not sent to the end; `sslmlflow sync` sends the rest")
                return 0
            size = _size(folder)
            print(f"run {folder.name}, {size / 1e6:.1f} MB")
            if not dry_run:
                shutil.rmtree(folder, ignore_errors=True)
            return size
    except UserError as error:
        print(f"kept: {error}")
        return 0


def _size(place: Path) -> int:
    return sum(path.stat().st_size for path in (place, *place.rglob("*")) if path.is_file())


def _latest(folder: Path) -> float:
    """When somebody worked there last: what changes when one only looks, as `sync` does, does not count."""
    times = []
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # a training goes on there
            looked_at = path.is_dir() or path.name.startswith(("spool.db", "lock"))
            times += [] if looked_at else [path.stat().st_mtime]
    return max(times, default=time.time())
