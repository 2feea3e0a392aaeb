"""A process that `mlflow run` or a launcher started ends with it."""

import contextlib
import os
import signal
import threading
import time

import psutil

POLL_SECONDS = 1.0


def end_with_mlflow_run() -> None:
    """Send this process SIGTERM when the `mlflow run` that started it, through a shell or not, is gone."""
    if "MLFLOW_RUN_ID" not in os.environ:
        return
    with contextlib.suppress(psutil.Error):
        started = next(filter(_is_mlflow_run, psutil.Process().parents()), None)
        if started:
            threading.Thread(target=_end_with, args=(started,), name="sslmlflow-parent", daemon=True).start()


def end_with_launcher() -> None:
    """Send this process SIGTERM when the launcher of torch that started it is gone."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return
    with contextlib.suppress(psutil.Error):
        started = psutil.Process(os.getppid())
        threading.Thread(target=_end_with, args=(started,), name="sslmlflow-launcher", daemon=True).start()


def _is_mlflow_run(process: psutil.Process) -> bool:
    words = process.cmdline()
    return "run" in words and any("mlflow" in os.path.basename(word) for word in words[: words.index("run")])


def _end_with(started: psutil.Process) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        while started.is_running() and started.status() != psutil.STATUS_ZOMBIE:
            time.sleep(POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
