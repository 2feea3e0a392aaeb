"""UMM, UMM without either of its terms, and the plain continuation of equal length, from the same encoders.

For each method and seed, a ResNet-18 of width 16 is trained without labels on 5,000 images of a folder (a copy of
CIFAR-10 as JPEG: `train/` and `test/` with a folder a class, of which the training sees nothing), then tuned for 5
epochs in each way, and the standardised linear probe and 5-NN of the last milestones are compared. Run `python -m
benchmarks.umm --data_dir=FOLDER`; started again, it goes on where it was. What is done is kept in MLflow (set
MLFLOW_TRACKING_URI and SSLMLFLOW_HOME to keep it apart from other work), and as JSON, of which the tables are made.
"""

import argparse
import json
import platform
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import mlflow
import torch
from mlflow.entities import Run

from benchmarks.runs import finished, sslmlflow
from sslmlflow.metrics.catalogue import CATALOGUE, CRR, CRR_ADJUSTED, KNN, PROBE, STANDARDISED
from sslmlflow.reporting.history import history_of
from sslmlflow.reporting.tables import markdown_table
from sslmlflow.tracking.server import connect
from sslmlflow.tracking.stored import milestones_of_run

METHODS, SEEDS = ("simclr", "moco-v2"), (0, 1, 2)
TRAINING = ("--preset=monitoring-paper", "--max_train_images=5000", "--max_test_images=2000", "--width=16")
TRAINING += ("--precision=float32", "--epochs=30", "--milestone_every=5")
TUNING = ("--milestone=last", "--precision=float32", "--epochs=5", "--js_images=32")
WAYS: dict[str, Sequence[str]] = {
    "UMM": ("--variant=umm", "--alpha=0.01", "--beta=1.0"),
    "alpha = 0": ("--variant=umm", "--alpha=0.0", "--beta=1.0"),
    "beta = 0": ("--variant=umm", "--alpha=0.01", "--beta=0.0"),
    "continuation": ("--variant=continuation", "--alpha=0.01", "--beta=1.0"),
}
START = "start"
SHOWN = (STANDARDISED, PROBE, KNN, CRR, CRR_ADJUSTED)
Cell = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", required=True, help="folder with train/ and test/")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--results", type=Path, default=Path("docs/results/umm"))
    arguments = parser.parse_args()
    arguments.results.mkdir(parents=True, exist_ok=True)
    for seed in arguments.seeds:
        for method in arguments.methods:
            cell = measure(method, seed, arguments.data_dir)
            (arguments.results / f"{method}-{seed}.json").write_text(json.dumps(cell, indent=1) + "\n")
    cells = [json.loads(path.read_text()) for path in sorted(arguments.results.glob("*-*.json"))]
    (arguments.results / "tables.md").write_text("\n\n".join(tables(cells)) + "\n")


def measure(method: str, seed: int, data_dir: str) -> Cell:
    """Train, tune in every way and evaluate, or find what was done."""
    training = (f"--method={method}", f"--seed={seed}", "--dataset=folder", *TRAINING)
    start = _done("pretrain", training, f"--data_dir={data_dir}")
    values = {START: _values(start)}
    for way, arguments in WAYS.items():
        tuning = (f"--run={start.info.run_id}", f"--seed={seed}", *TUNING, *arguments)
        values[way] = _values(_done("umm", tuning, f"--data_dir={data_dir}"))
    return {
        "method": method,
        "seed": seed,
        "training": training,
        "tuning": TUNING,
        "ways": WAYS,
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "mlflow": mlflow.__version__},
        "values": values,
    }


def _done(entry_point: str, arguments: Sequence[str], *elsewhere: str) -> Run:
    if (run := finished(entry_point, arguments)) is None:
        sslmlflow(entry_point, *arguments, *elsewhere, "--resume=auto")
        run = finished(entry_point, arguments)
    assert run is not None
    return run


def _values(run: Run) -> dict[str, float | None]:
    """The metrics of a run's last milestone, which is evaluated if it was not yet."""
    last = milestones_of_run(connect(), run.info.run_id)[-1]
    sslmlflow("evaluate", f"--milestones={last.model_id}", "--probe=plain")
    history = history_of(connect(), run.info.run_id)
    return {key: history.column(key)[-1] for key in sorted(history.values)}


def tables(cells: Sequence[Cell]) -> Iterator[str]:
    """One table a method: mean and standard deviation over the seeds, and gains over the plain continuation."""
    for method in dict.fromkeys(cell["method"] for cell in cells):
        of_method = [cell["values"] for cell in cells if cell["method"] == method]
        head = ["", *(CATALOGUE[key].name for key in SHOWN), "gain in points over the continuation, by seed"]
        rows = [[way, *(_spread([v[way][key] for v in of_method], key) for key in SHOWN)] for way in (START, *WAYS)]
        for row in rows:
            gains = [100 * (v[row[0]][STANDARDISED] - v["continuation"][STANDARDISED]) for v in of_method]
            row.append("" if row[0] == "continuation" else ", ".join(f"{gain:+.1f}" for gain in gains))
        seeds = ", ".join(str(cell["seed"]) for cell in cells if cell["method"] == method)
        yield f"## {method}, mean ± standard deviation over seeds: {seeds}"
        yield markdown_table([head, *rows])


def _spread(values: Sequence[float], key: str) -> str:
    scale, decimals = (100, 1) if CATALOGUE[key].accuracy else (1, 2)
    spread = scale * statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{scale * statistics.fmean(values):.{decimals}f} ± {spread:.{decimals}f}"


if __name__ == "__main__":
    main()
