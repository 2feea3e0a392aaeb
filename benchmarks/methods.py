"""The results in docs/results/methods: every method at equal epochs, 20 of 5,000 images of a folder, two seeds.

Run `python -m benchmarks.methods --data_dir=FOLDER`; started again, it continues where it was. `--search` tries the
options in TRIED for 8 epochs, for methods that do not learn by their recipe. What is done is kept in MLflow (set
MLFLOW_TRACKING_URI and SSLMLFLOW_HOME to keep it apart from other work), and as JSON, of which the tables are made.
"""

import argparse
import json
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import torch
from mlflow.entities import Run

from benchmarks.methods_tables import Cell, accuracy_table, correlation_table, regret_table, umm_figure, umm_table
from benchmarks.runs import finished, sslmlflow
from sslmlflow.config.data import DataOptions
from sslmlflow.config.methods import METHOD_OPTIONS, METHODS, method_options_text
from sslmlflow.config.options import read_config
from sslmlflow.config.pretrain import Pretrain
from sslmlflow.data import open_images, open_labels
from sslmlflow.data.opening import cache_folder, dataset_spec
from sslmlflow.metrics.catalogue import KNN, STANDARDISED
from sslmlflow.metrics.labelled.knn import knn_accuracy
from sslmlflow.reporting.history import history_of
from sslmlflow.runs.presets import settle
from sslmlflow.tracking.server import connect

IMAGES = ("--max_train_images=5000", "--max_test_images=2000")
TRAINING = (*IMAGES, "--preset=small", "--width=16", "--batch_size=64", "--epochs=20", "--milestone_every=4")
SEARCH = (*IMAGES, "--preset=small", "--width=16", "--batch_size=64", "--epochs=8", "--milestone_every=8")
MOST_SEEDS = 10
EVALUATION = ("--probe=plain",)
# Options for so few steps, where a method's default is for a long training of many images.
OPTIONS: dict[str, tuple[str, ...]] = {
    "byol": ("--hidden_width=1024",),
    "swav": ("--prototypes=100", "--queue_size=512"),
    "dino": ("--prototypes=512", "--hidden_width=1024", "--teacher_momentum=0.99", "--teacher_temperature_epochs=5"),
}
ADAMW = "--optimiser=adamw"
TRIED: dict[str, tuple[tuple[str, ...], ...]] = {  # after the recipe
    "simsiam": ((ADAMW, "--lr=0.001"), ("--lr=0.2",)),
    "barlow-twins": ((ADAMW, "--lr=0.001"),),
    "swav": (
        (ADAMW, "--lr=0.001"),
        ("--queue_start=1",),
        ("--queue_start=1", "--sinkhorn_eps=0.01"),
    ),
    "dino": (
        (ADAMW, "--lr=0.001"),
        ("--optimiser=sgd", "--lr=0.06"),
        (ADAMW, "--lr=0.0005", "--teacher_temperature_start=0.02", "--teacher_temperature=0.02"),
    ),
}
# What the search found to be better than the recipe.
CHOSEN: dict[str, tuple[str, ...]] = {
    "simsiam": TRIED["simsiam"][-1],
    "barlow-twins": TRIED["barlow-twins"][0],
    "swav": TRIED["swav"][-1],
    "dino": TRIED["dino"][-1],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", required=True, help="folder with train/ and test/")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--search", action="store_true", help="try other options instead")
    parser.add_argument("--results", type=Path, default=Path("docs/results/methods"))
    arguments = parser.parse_args()
    data = "--dataset=folder", f"--data_dir={arguments.data_dir}"
    arguments.results.mkdir(parents=True, exist_ok=True)
    for method in arguments.methods:
        if arguments.search:
            search(method, data, arguments.results / f"{method}-search.json")
        for seed in arguments.seeds if not arguments.search else ():
            written = arguments.results / f"{method}-{seed}.json"
            if not is_done(written, method, seed):
                write(written, train(trained_by(method, seed), data))
    cells = [
        json.loads((arguments.results / f"{method}-{seed}.json").read_text())
        for method in METHODS
        for seed in range(MOST_SEEDS)
        if is_done(arguments.results / f"{method}-{seed}.json", method, seed)
    ]
    if cells:
        tables = [*accuracy_table(cells, pixels(arguments.data_dir)), *umm_table(cells), *correlation_table(cells)]
        (arguments.results / "tables.md").write_text("\n".join([*tables, *regret_table(cells)]) + "\n")
        umm_figure(cells).savefig(arguments.results / "crr_and_probe.png", dpi=120)


def trained_by(method: str, seed: int) -> list[str]:
    """What a cell of the tables is trained with, but for the images."""
    return [f"--method={method}", *TRAINING, f"--seed={seed}", *OPTIONS.get(method, ()), *CHOSEN.get(method, ())]


def is_done(written: Path, method: str, seed: int) -> bool:
    """Is the cell kept, of the same options?"""
    return written.exists() and json.loads(written.read_text())["training"] == trained_by(method, seed)


def search(method: str, data: Sequence[str], written: Path) -> None:
    """Keep 5-NN and the probe after 8 epochs, by the recipe and by each of what else is tried."""
    found = []
    for more in ((), *TRIED.get(method, ())):
        cell = train([f"--method={method}", *SEARCH, *OPTIONS.get(method, ()), *more], data)
        values = {key: cell["values"][key] for key in (KNN, STANDARDISED)}
        found.append({"options": [*OPTIONS.get(method, ()), *more], "lr": cell["lr"], "loss": cell["loss"], **values})
        print(method, *more, *(f"{100 * value:.1f} %" for value in values[KNN]), flush=True)
        write(written, found)


def write(path: Path, what: Any) -> None:
    path.write_text(json.dumps(what, indent=1) + "\n")


def trained(given: Sequence[str], data: Sequence[str]) -> Run:
    """The training by these options, done now where it was not."""
    if run := run_of(given):
        return run
    sslmlflow("pretrain", *given, *data, "--resume=auto")
    run = run_of(given)
    assert run is not None
    return run


def train(given: list[str], data: Sequence[str]) -> Cell:
    """Train and evaluate, unless it is done; what was measured."""
    run = trained(given, data)
    sslmlflow("evaluate", f"--run={run.info.run_id}", *EVALUATION)
    history, params = history_of(connect(), run.info.run_id), run.data.params
    losses = [point.value for point in connect().get_metric_history(run.info.run_id, "train/loss")]
    per_epoch = len(losses) // int(params["resolved/epochs"])
    return {
        "method": params["method"],
        "seed": params["seed"],
        "lr": params["resolved/lr"],
        "optimiser": params["resolved/optimiser"],
        "training": given,
        "evaluation": EVALUATION,
        "images": run.inputs.dataset_inputs[0].dataset.digest,
        "processor": {name: params[f"resolved/{name}"] for name in ("device", "precision", "threads")},
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "mlflow": mlflow.__version__},
        "loss": [statistics.mean(losses[-per_epoch:]), statistics.mean(losses[:per_epoch])][::-1],
        "values": {key: history.column(key) for key in sorted(history.values)},
    }


def run_of(given: Sequence[str]) -> Run | None:
    """The finished training by these options and no others."""
    texts = dict(argument.removeprefix("--").split("=", 1) for argument in given)
    of_method = {name: texts.pop(name) for name in [*texts] if name in METHOD_OPTIONS}
    options = ",".join(f"{name}={text}" for name, text in of_method.items())
    config = read_config(Pretrain, {**texts, **({"method_options": options} if options else {})})
    settled = {"resolved/method_options": method_options_text(config.method, settle(config).method_options)}
    asked = {"lr": "auto", "optimiser": "auto", "encoder": config.encoder, **texts, **settled}
    return finished("pretrain", [f"--{name}={text}" for name, text in asked.items()])


def pixels(folder: str) -> float:
    """5-NN on the pixels themselves."""
    options = DataOptions(dataset="folder", data_dir=folder, max_train_images=5000, max_test_images=2000)
    spec = dataset_spec(options, 32)
    sets, labels = open_images(spec, cache_folder()), open_labels(spec, cache_folder())
    flat = [part.read(np.arange(len(part))).reshape(len(part), -1) / 255 for part in (sets.train, sets.test)]
    return knn_accuracy(flat[0], labels.train, flat[1], labels.test)


if __name__ == "__main__":
    main()
