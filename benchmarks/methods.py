"""The results in docs/results/methods: every method at equal epochs, 20 of 5,000 images of a folder, two seeds.

Run `python -m benchmarks.methods --data_dir=FOLDER`; started again, it continues where it was. `--search` tries three
learning rates of every method for 8 epochs, and prints 5-NN. What is done is kept in MLflow (set MLFLOW_TRACKING_URI
and SSLMLFLOW_HOME to keep it apart from other work), and as JSON by method and seed; the tables are made from the JSON.
"""

import argparse
import json
import platform
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import torch

from benchmarks.runs import finished, sslmlflow
from sslmlflow.config.data import DataOptions
from sslmlflow.config.methods import METHODS
from sslmlflow.data import open_images, open_labels
from sslmlflow.data.opening import cache_folder, dataset_spec
from sslmlflow.metrics.catalogue import CATALOGUE, CRITERIA, KNN, STANDARDISED, TABLED
from sslmlflow.metrics.correlation import lost_by_the_last, pearson, regret
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
Cell = dict[str, Any]


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
    tables = [*accuracy_table(cells, pixels(arguments.data_dir)), *correlation_table(cells), *regret_table(cells)]
    (arguments.results / "tables.md").write_text("\n".join(tables) + "\n")


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


def accuracy_table(cells: Sequence[Cell], of_pixels: float) -> Iterator[str]:
    """Probes at the initialisation and at the end, means over the seeds."""
    yield f"## Accuracy, at the initialisation and after 20 epochs; 5-NN on pixels: {100 * of_pixels:.1f} %\n"
    yield _line(["method", "lr", "probe, init", "probe, end", "5-NN, init", "5-NN, end", "learns", "minutes"])
    yield _line(["---"] * 8)
    for method, of_method in _by_method(cells):
        ends = [
            [(cell["values"][key][place]) for cell in of_method] for key in (STANDARDISED, KNN) for place in (0, -1)
        ]
        learns = all(end > max(first, of_pixels) for first, end in zip(ends[2], ends[3], strict=True))
        means = [f"{100 * statistics.mean(end):.1f}" for end in ends]
        minutes = statistics.mean(cell["minutes"] for cell in of_method)
        marked = "yes" if learns else "not at this scale"
        yield _line([method, of_method[0]["lr"], *means, marked, f"{minutes:.0f}"])
    yield ""


def correlation_table(cells: Sequence[Cell]) -> Iterator[str]:
    """Pearson's r of each label-free metric with the standardised probe, by method; means over the seeds."""
    yield "## Pearson's r with the standardised probe, six milestones, mean over the seeds\n"
    groups = list(_by_method(cells))
    yield _line(["", *(method for method, _ in groups)])
    yield _line(["---", *["---:"] * len(groups)])
    for key in TABLED:
        if not CATALOGUE[key].accuracy:
            yield _line([CATALOGUE[key].name, *(_mean_r(of_method, key) for _, of_method in groups)])
    yield ""


def _mean_r(cells: Sequence[Cell], key: str) -> str:
    found = [
        pearson(cell["values"].get(key, []), cell["values"][STANDARDISED]) for cell in cells if key in cell["values"]
    ]
    rs = [one.r for one in found if not one.reason]
    return f"{statistics.mean(rs):+.2f}" if rs and len(rs) == len(cells) else "undefined"


def regret_table(cells: Sequence[Cell]) -> Iterator[str]:
    """Points of the standardised probe lost by choosing the milestone by each criterion, and by taking the last."""
    yield "## Points of the standardised probe lost by the choice, by method and seed\n"
    yield _line(["", *(f"{cell['method']}, {cell['seed']}" for cell in cells), "mean"])
    yield _line(["---", *["---:"] * (len(cells) + 1)])
    for key in CRITERIA:
        lower = CATALOGUE[key].lower_is_better
        lost = [regret(cell["values"].get(key, []), cell["values"][STANDARDISED], lower) for cell in cells]
        yield _row(CATALOGUE[key].name, lost)
    yield _row("the last", [lost_by_the_last(cell["values"][STANDARDISED]) for cell in cells])


def _row(name: str, lost: Sequence[float | None]) -> str:
    known = [one for one in lost if one is not None]
    mean = f"{100 * statistics.mean(known):.1f}" if len(known) == len(lost) else "-"
    return _line([name, *("-" if one is None else f"{100 * one:.1f}" for one in lost), mean])


def _by_method(cells: Sequence[Cell]) -> Iterator[tuple[str, list[Cell]]]:
    for method in METHODS:
        if found := [cell for cell in cells if cell["method"] == method]:
            yield method, found


def _line(columns: Sequence[str]) -> str:
    return f"| {' | '.join(columns)} |"


if __name__ == "__main__":
    main()
