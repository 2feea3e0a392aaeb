"""Seconds until the command line answers and until a training takes its first step, beside another checkout's.

    python -m benchmarks.startup --before=FOLDER

FOLDER is a checkout of an earlier commit. Both run in turn, in processes of their own: `import sslmlflow`, `sslmlflow
--help`, and `sslmlflow pretrain` on 96 generated images up to the optimiser's first step. The medians are printed.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parents[1]
# Ends the process at the first step; torch is imported first on both sides, as a training does anyway.
FIRST_STEP = """
import os, sys, torch
torch.optim.SGD.step = lambda self, closure=None: os._exit(0)
from sslmlflow.cli import main
sys.exit(main(sys.argv[1:]))
"""
SMALL = "--max_train_images=96 --max_test_images=60 --monitor_images=40 --width=4 --batch_size=32 --image_size=16"
WAYS = {
    "import sslmlflow": [sys.executable, "-c", "import sslmlflow"],
    "sslmlflow --help": [sys.executable, "-m", "sslmlflow", "--help"],
    "sslmlflow pretrain, first step": [sys.executable, "-c", FIRST_STEP, "pretrain", *SMALL.split()],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, required=True, help="a checkout of an earlier commit")
    parser.add_argument("--turns", type=int, default=5)
    arguments = parser.parse_args()
    print(f"{'seconds':34}{'before':>10}{'now':>10}{'less':>10}")
    with tempfile.TemporaryDirectory() as homes:
        for name, command in WAYS.items():
            taken: dict[Path, list[float]] = {arguments.before: [], HERE: []}
            for turn in range(arguments.turns + 1):
                for place, (checkout, seconds) in enumerate(taken.items()):
                    once = run(command, checkout.absolute(), f"{homes}/{place}")
                    if turn:  # the first turn warms the caches of the file system, and makes the images
                        seconds.append(once)
            before, now = map(statistics.median, taken.values())
            print(f"{name:34}{before:10.2f}{now:10.2f}{before - now:10.2f}", flush=True)


def run(command: list[str], checkout: Path, home: str) -> float:
    """Seconds of one process, in a folder and with a database of its own."""
    with tempfile.TemporaryDirectory() as folder:
        own = {"PYTHONPATH": str(checkout), "SSLMLFLOW_HOME": home, "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/m.db"}
        started = time.perf_counter()
        subprocess.run(command, cwd=folder, env={**os.environ, **own}, stdout=subprocess.DEVNULL, check=True)
        return time.perf_counter() - started


if __name__ == "__main__":
    main()
