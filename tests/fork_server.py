"""Start the command line many times without importing and compiling each time what takes seconds to be ready.

Reads a JSON request from each line of standard input: `arguments`, `environment`, `folder` to work in, files `stdout`
and `stderr` to append to; `module`, whose `main` is called in place of the command line's; `trap`, see tests/trap.py;
`file_limit`, the bytes that a file may have; `umask`; `memory`, the bytes that the
process may have beside those it has.
Forks a child that serves it, and prints the child's process id, then its wait status.
"""

import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psutil
from tqdm import tqdm

from tests.trap import set_trap


def serve() -> None:
    _make_ready()
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            for stream, name in ((1, "stdout"), (2, "stderr")):
                os.dup2(os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
            # A test run in the background of a script is started with Ctrl-C ignored.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.environ.clear()
            os.environ.update(request["environment"])
            os.chdir(request["folder"])
            os.setpgid(0, 0)
            # A process killed while it held tqdm's own lock would leave it locked for all that are forked later.
            tqdm.set_lock(threading.RLock())
            if trap := request.get("trap"):
                set_trap(**trap)
            if "umask" in request:
                os.umask(request["umask"])
            if limit := request.get("file_limit"):
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            if memory := request.get("memory"):
                most = psutil.Process().memory_info().vms + memory
                resource.setrlimit(resource.RLIMIT_AS, (most, most))
            status = importlib.import_module(request.get("module", "sslmlflow.cli")).main(request["arguments"])
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
        print(child, flush=True)
        print(os.waitpid(child, 0)[1], flush=True)


def _make_ready() -> None:
    """Import, compile and draw what is the same in every command; all of it is code and constants."""
    # The threads of GNU OpenMP, numba's own choice, do not survive a fork.
    os.environ["NUMBA_THREADING_LAYER"] = "workqueue"
    import mlflow.store.model_registry.sqlalchemy_store
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401
    import numpy as np
    from sqlalchemy.orm import configure_mappers

    from sslmlflow.config import COMMANDS
    from sslmlflow.data import digit_scenes
    from sslmlflow.data.source import DatasetSpec
    from sslmlflow.metrics.unlabelled.umap_embedding import umap_embedding

    for module in ["cli", *(f"jobs.{command}" for command in COMMANDS)]:
        importlib.import_module(f"sslmlflow.{module}")
    configure_mappers()
    digit_scenes.open_images(DatasetSpec("digit-scenes", None, False, None, None, None), Path())
    umap_embedding(np.eye(12, dtype=np.float32), seed=0)


class ForkServer:
    """The other end of `serve`: one command at a time."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fork_server"],
            env=environment,
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, **request: Any) -> int:
        """Start a command and give its process id; `wait` is to follow."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def wait(self) -> int:
        """The wait status of what was started last."""
        return self._answer()

    def close(self) -> None:
        """End the server."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)

    def _answer(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())


if __name__ == "__main__":
    serve()
