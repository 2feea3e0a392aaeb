"""Make the archive of a build, by the command line of the build that is installed: `python -m tests.stored.make NAME`.

It works in the folder /stored, which must not exist. The archive holds what people have after some weeks: an MLflow
database, SSLMLFLOW_HOME with checkpoints, spools and a study; a finished and an interrupted run of SimCLR (images made
here) and of MoCo v2 (images in a folder), an evaluation and a report.
"""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
from contextlib import closing
from pathlib import Path

import numpy as np
from PIL import Image

from tests.stored import ROOT

SMALL = [
    *("--width=4", "--image_size=16", "--batch_size=32", "--monitor_images=40", "--lr=0.1", "--milestone_every=3"),
    "--precision=float32",
]
SIMCLR = [
    *("--method=simclr", "--method_options=hidden_width=32,projection_width=16", *SMALL),
    *("--max_train_images=96", "--max_test_images=60"),
]
MOCO = [
    *("--method=moco-v2", "--method_options=queue_size=64,hidden_width=32,projection_width=16", *SMALL),
    *("--dataset=folder", f"--data_dir={ROOT}/images"),
]
ENVIRONMENT = {
    **{name: text for name, text in os.environ.items() if not name.startswith(("MLFLOW_", "SSLMLFLOW_"))},
    "SSLMLFLOW_HOME": f"{ROOT}/home",
    "MLFLOW_TRACKING_URI": f"sqlite:///{ROOT}/mlflow.db",
    "OMP_NUM_THREADS": "1",
    "PYTHONUNBUFFERED": "1",
    "USER": "someone",
    "LOGNAME": "someone",
}


def main() -> None:
    name = sys.argv[1]
    Path(ROOT).mkdir()
    _make_images(Path(ROOT) / "images")
    _run("pretrain", *SIMCLR, "--epochs=3")
    _run("pretrain", *MOCO, "--epochs=3")
    _run("evaluate", "--dataset=auto", "--labels=auto", "--probe=plain", "--clusters=3")
    _run("tune", "--epochs=1", "--trials=1", "--js_images=8", "--labels=none", "--precision=float32")
    _run("report")
    _interrupted("pretrain", *MOCO, "--epochs=6", "--seed=1", by=signal.SIGTERM)
    _interrupted("pretrain", *SIMCLR, "--epochs=6", "--seed=1", by=signal.SIGKILL)
    for left_out in ("cache", "data"):
        shutil.rmtree(f"{ROOT}/home/{left_out}", ignore_errors=True)
    _leave_out_the_machine()
    with tarfile.open(Path(__file__).parent / f"{name}.tar.xz", "w:xz", preset=9) as archive:
        archive.add(ROOT, ".", filter=_nobodys)


def _make_images(folder: Path) -> None:
    """Three classes of 40 images of 20 x 24 pixels, one of them gray with 16 bits."""
    random = np.random.default_rng(0)
    for label, name in enumerate(("bars", "dots", "noise")):
        (folder / name).mkdir(parents=True)
        for number in range(40):
            pixels = random.integers(0, 256, (20, 24, 3)).astype(np.uint8)
            if label < 2:
                pixels[:: 2 + label, :: 1 + 3 * label] = random.integers(0, 256, 3)
            Image.fromarray(pixels).save(folder / name / f"{number:02d}.png")
    deep = random.integers(0, 65536, (20, 24)).astype(np.uint16)
    Image.fromarray(deep).save(folder / "noise" / "00.png")


def _run(*arguments: str) -> None:
    subprocess.run(["sslmlflow", *arguments], cwd=ROOT, env=ENVIRONMENT, check=True)


def _interrupted(*arguments: str, by: signal.Signals) -> None:
    """Stop the training in its fourth epoch, after it began a milestone and a checkpoint."""
    command = ["sslmlflow", *arguments]
    with subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="")
            if "epoch 4/6" in line:
                process.send_signal(by)
        print("ended with", process.wait())


def _leave_out_the_machine() -> None:
    with closing(sqlite3.connect(f"{ROOT}/mlflow.db")) as database, database:
        database.execute("UPDATE tags SET value = 'sslmlflow' WHERE key = 'mlflow.source.name'")
        database.execute("UPDATE tags SET value = 'stored' WHERE key = 'sslmlflow.host'")
    with closing(sqlite3.connect(f"{ROOT}/mlflow.db")) as database:
        database.execute("VACUUM")  # an updated row leaves its old text in the file


def _nobodys(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


if __name__ == "__main__":
    main()
