"""A PostgreSQL server of the test's own, from the machine's packages, on a socket in a temporary folder."""

import contextlib
import glob
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

FOLDERS = ["/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql*/bin"]


def _program(name: str) -> str | None:
    places = [folder for pattern in FOLDERS for folder in sorted(glob.glob(pattern), reverse=True)]
    return next((found for folder in places if (found := shutil.which(name, path=folder))), shutil.which(name))


def _install() -> None:
    """From the packages of a Debian, where the test may."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "timeout": 300}
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with contextlib.suppress(subprocess.SubprocessError, OSError):
        subprocess.run(["apt-get", "update"], env=environment, **quiet)  # type: ignore[call-overload]
        subprocess.run(["apt-get", "install", "-y", "--no-install-recommends", "postgresql"], env=environment, **quiet)  # type: ignore[call-overload]


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """The address of a server's database; skips the test, with the reason, where there can be none."""
    if not _program("initdb"):
        _install()
    initdb, server = _program("initdb"), _program("postgres")
    if not initdb or not server:
        pytest.skip("no PostgreSQL here, and none could be installed from the machine's packages")
    # The server refuses to run as root; sockets have short names only.
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    as_user: dict[str, object] = {}
    if os.geteuid() == 0:
        names = [user.pw_name for user in pwd.getpwall()]
        user = next((name for name in ("postgres", "nobody") if name in names), None)
        if user is None:
            pytest.skip("PostgreSQL does not run as root, and there is no other user")
        shutil.chown(folder, user)
        as_user = {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}
    log = folder / "log.txt"
    made = subprocess.run(
        [initdb, "-D", f"{folder}/data", "-U", "me", "-A", "trust"], capture_output=True, text=True, cwd="/", **as_user
    )  # type: ignore[call-overload]
    if made.returncode:
        pytest.skip(f"PostgreSQL cannot make a database here: {made.stderr[-300:]}")
    command = [server, "-D", f"{folder}/data", "-k", str(folder), "-c", "listen_addresses="]
    with open(log, "wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, cwd="/", **as_user)  # type: ignore[call-overload]
    try:
        patience = time.monotonic() + 60
        while not (folder / ".s.PGSQL.5432").exists():
            if process.poll() is not None or time.monotonic() > patience:
                pytest.skip(f"PostgreSQL does not start here: {log.read_text()[-300:]}")
            time.sleep(0.1)
        yield f"postgresql+psycopg://me@/postgres?host={folder}"
    finally:
        process.send_signal(signal.SIGINT)  # does not wait for clients that are still connected
        process.wait(60)
        shutil.rmtree(folder, ignore_errors=True)
