"""The results in docs/results/methods: every method at equal epochs, 20 of 5,000 images of a folder, two seeds.

Run `python -m benchmarks.methods --data_dir=FOLDER`; started again, it continues where it was. `--search` tries three
learning rates of every method for 8 epochs, and prints 5-NN. What is done is kept in MLflow (set MLFLOW_TRACKING_URI
and SSLMLFLOW_HOME to keep it apart from other work), and as JSON by method and seed; the tables are made from the JSON.
"""

import argparse
import json
import platform
from collections.abc import Sequence
from pathlib import Path

import mlflow
import numpy as np
import torch

from benchmarks.methods_tables import Cell, accuracy_table, correlation_table, regret_table, umm_figure, umm_table
from benchmarks.runs import finished, sslmlflow
from sslmlflow.config.data import DataOptions
from sslmlflow.config.methods import METHODS
from sslmlflow.data import open_images, open_labels
from sslmlflow.data.opening import cache_folder, dataset_spec
from sslmlflow.metrics.catalogue import KNN
from sslmlflow.metrics.labelled.knn import knn_accuracy
from sslmlflow.reporting.history import history_of
from sslmlflow.tracking.server import connect

IMAGES = ("--max_train_images=5000", "--max_test_images=2000")
TRAINING = (*IMAGES, "--preset=small", "--width=16", "--batch_size=64", "--epochs=20", "--milestone_every=4")
SEARCH = (*IMAGES, "--preset=small", "--width=16", "--batch_size=64", "--epochs=8", "--milestone_every=8")
EVALUATION = ("--probe=plain",)
FACTORS = (0.3, 1.0, 3.0)
TRIED = ("lr", "optimiser")
# Options for so few steps, where a method's default is for a long training of many images.
OPTIONS: dict[str, tuple[str, ...]] = {
    "byol": ("--hidden_width=1024",),
    "swav": ("--prototypes=100", "--queue_size=512"),
    "dino": ("--prototypes=512", "--hidden_width=1024", "--teacher_momentum=0.99", "--teacher_temperature_epochs=5"),
}
LR: dict[str, float] = {}  # where the search found another than the recipe's


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", required=True, help="folder with train/ and test/")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--search", action="store_true", help="try learning rates instead")
    parser.add_argument("--results", type=Path, default=Path("docs/results/methods"))
    arguments = parser.parse_args()
    data = "--dataset=folder", f"--data_dir={arguments.data_dir}"
    if arguments.search:
        for method in arguments.methods:
            search(method, data)
        return
    arguments.results.mkdir(parents=True, exist_ok=True)
    for method in arguments.methods:
        for seed in arguments.seeds:
            written = arguments.results / f"{method}-{seed}.json"
            training = *TRAINING, f"--seed={seed}", *lr_of(method)
            if not is_done(written, method, training):
                written.write_text(json.dumps(train(method, training, data), indent=1) + "\n")
    cells = [json.loads(path.read_text()) for path in sorted(arguments.results.glob("*-[0-9].json"))]
    tables = [*accuracy_table(cells, pixels(arguments.data_dir)), *umm_table(cells), *correlation_table(cells)]
    (arguments.results / "tables.md").write_text("\n".join([*tables, *regret_table(cells)]) + "\n")
    umm_figure(cells).savefig(arguments.results / "crr_and_probe.png", dpi=120)


def is_done(written: Path, method: str, training: Sequence[str]) -> bool:
    """Is the cell kept, of the same options?"""
    return written.exists() and json.loads(written.read_text())["training"] == given_to(method, training)


def search(method: str, data: Sequence[str]) -> None:
    """Print 5-NN after 8 epochs for three learning rates around the recipe's."""
    own = train(method, SEARCH, data)
    lr = float(own["lr"])
    for factor in FACTORS:
        cell = own if factor == 1.0 else train(method, (*SEARCH, f"--lr={factor * lr:g}"), data)
        first, *_, last = cell["values"][KNN]
        print(f"{method:14} lr {factor * lr:8.4g}  5-NN {100 * first:.1f} % -> {100 * last:.1f} %", flush=True)


def train(method: str, training: Sequence[str], data: Sequence[str]) -> Cell:
    """Train and evaluate, unless it is done; what was measured."""
    given = given_to(method, training)
    # A run of the search is another run, though it was given everything that this one is given.
    known = (f"--method={method}", *(f"--{name}=auto" for name in TRIED if not _gives(training, name)), *training)
    run = finished("pretrain", known)
    if run is None:
        sslmlflow("pretrain", *given, *data, "--resume=auto")
        run = finished("pretrain", known)
        assert run is not None
    sslmlflow("evaluate", f"--run={run.info.run_id}", *EVALUATION)
    history = history_of(connect(), run.info.run_id)
    return {
        "method": method,
        "seed": run.data.params["seed"],
        "lr": run.data.params["resolved/lr"],
        "training": given,
        "evaluation": EVALUATION,
        "threads": run.data.params["resolved/threads"],
        "minutes": ((run.info.end_time or 0) - run.info.start_time) / 60_000,
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "mlflow": mlflow.__version__},
        "values": {key: history.column(key) for key in sorted(history.values)},
    }


def _gives(arguments: Sequence[str], name: str) -> bool:
    return any(argument.startswith(f"--{name}=") for argument in arguments)


def given_to(method: str, training: Sequence[str]) -> list[str]:
    """What `pretrain` is given but for the images."""
    return [f"--method={method}", *training, *OPTIONS.get(method, ())]


def lr_of(method: str) -> tuple[str, ...]:
    """The learning rate that the search found, if it is not the recipe's."""
    return (f"--lr={LR[method]:g}",) if method in LR else ()


def pixels(folder: str) -> float:
    """5-NN on the pixels themselves."""
    options = DataOptions(dataset="folder", data_dir=folder, max_train_images=5000, max_test_images=2000)
    spec = dataset_spec(options, 32)
    sets, labels = open_images(spec, cache_folder()), open_labels(spec, cache_folder())
    flat = [part.read(np.arange(len(part))).reshape(len(part), -1) / 255 for part in (sets.train, sets.test)]
    return knn_accuracy(flat[0], labels.train, flat[1], labels.test)


if __name__ == "__main__":
    main()
