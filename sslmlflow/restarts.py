"""What outlives processes that torchrun restarts: the run that they resume, and the end of torchrun itself.

As a program: `python -m sslmlflow.restarts PID CREATED SECONDS` ends a launcher that starts nothing any more.
"""

import contextlib
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import psutil

from sslmlflow.files import private_folder, write_atomically
from sslmlflow.home import home

GIVE_UP = 900.0  # seconds; torch's own patience is 600, which it has on one machine only
END_SECONDS = 30.0


def remember(run_id: str) -> None:
    """Keep the run of this training for what torchrun may start after it."""
    if int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")):
        folder = private_folder(_kept().parent)
        for path in folder.iterdir():
            node, number, _ = path.name.rsplit("-", 2)
            if node == platform.node() and not psutil.pid_exists(int(number)):  # of a torchrun that was killed
                path.unlink(missing_ok=True)
        write_atomically(_kept(), run_id.encode())


def remembered() -> str | None:
    """The run of the process in whose place torchrun started this one, if it had begun one on this machine."""
    # The count of restarts does not tell: torch leaves out those that another machine is the reason of.
    if "TORCHELASTIC_RUN_ID" not in os.environ or not _kept().exists():
        return None
    return _kept().read_text()


def forget() -> None:
    """The training is done."""
    if int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")):
        _kept().unlink(missing_ok=True)


def _kept() -> Path:
    """A file that is named after torchrun's own process, which outlives those that it starts."""
    parent = psutil.Process(os.getppid())
    return home() / "restarts" / f"{platform.node()}-{parent.pid}-{parent.create_time():.2f}"


def watch_launcher() -> None:
    """End torchrun when it has waited in vain for the other machines: it may never notice that they are gone."""
    machines_differ = os.environ.get("LOCAL_WORLD_SIZE") != os.environ["WORLD_SIZE"]
    if machines_differ and os.environ.get("LOCAL_RANK") == "0" and "TORCHELASTIC_RUN_ID" in os.environ:
        launcher = psutil.Process(os.getppid())
        watched = str(launcher.pid), str(launcher.create_time()), str(GIVE_UP)
        quiet = subprocess.DEVNULL
        command = [sys.executable, "-m", "sslmlflow.restarts", *watched]
        subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True)


def _end_if_idle(pid: int, created: float, seconds: float) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        launcher = psutil.Process(pid)
        own = {child.pid for child in launcher.children()}  # those that are ending
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if launcher.create_time() != created or any(child.pid not in own for child in launcher.children()):
                return
            time.sleep(1)
        launcher.terminate()
        psutil.wait_procs([launcher], END_SECONDS)
        launcher.kill()


if __name__ == "__main__":
    _end_if_idle(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]))
