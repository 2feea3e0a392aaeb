"""What `sslmlflow score` needs for many embeddings: seconds on the clock, CPU seconds, and the peak of memory.

    python -m benchmarks.score --rows 200000 --width 256 [--json FILE]

Embeddings in two views with ten classes, made as `benchmarks/embeddings.py` says; the command runs in a process of its
own, with the threads that it takes by itself.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.embeddings import embeddings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        views, classes = embeddings(arguments.rows, arguments.width)
        for name, array in {"z": views[0], "other": views[1], "classes": classes}.items():
            np.save(f"{folder}/{name}.npy", array.numpy())
        del views
        started = time.perf_counter()
        command = [sys.executable, "-m", "sslmlflow", "score", "z.npy", "--views=other.npy", "--labels=classes.npy"]
        home = {"SSLMLFLOW_HOME": f"{folder}/home", "PYTHONPATH": os.pathsep.join(["", *sys.path]).lstrip(os.pathsep)}
        subprocess.run(command, cwd=folder, env={**os.environ, **home}, check=True)
        seconds = time.perf_counter() - started
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = {
        "rows": arguments.rows,
        "width": arguments.width,
        "cores": os.cpu_count(),
        "seconds": round(seconds, 1),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
        "peak_mb": round(used.ru_maxrss * 1.024e-3),
    }
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")
    print(found)


if __name__ == "__main__":
    main()
