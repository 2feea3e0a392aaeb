"""The results in docs/results/monitoring: three methods, 40 epochs each, on 10,000 images of a folder.

Run `python -m benchmarks.monitoring --data_dir=FOLDER`; started again, it goes on where it was. What is done is kept
in MLflow (set MLFLOW_TRACKING_URI and SSLMLFLOW_HOME to keep it apart from other work), and as JSON by method; the
tables are made from the JSON.
"""

import argparse
import json
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import torch
from mlflow.entities import Run

from benchmarks.runs import finished, sslmlflow
from sslmlflow.metrics.catalogue import CATALOGUE, CRITERIA, PROBE, STANDARDISED, TABLED
from sslmlflow.metrics.correlation import Correlation, pearson
from sslmlflow.reporting.history import history_of
from sslmlflow.tracking.server import connect

METHODS = ("simclr", "simsiam", "moco-v2")
TRAINING = ("--preset=monitoring-paper", "--max_train_images=10000", "--max_test_images=2000", "--width=16")
TRAINING += ("--epochs=40", "--milestone_every=4")
EVALUATION = ("--max_train_images=5000", "--probe=plain")
INIT = {"with init": 0, "without init": 1}  # the first milestone that counts
Cell = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", required=True, help="folder with train/ and test/")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--results", type=Path, default=Path("docs/results/monitoring"))
    arguments = parser.parse_args()
    runs = []
    for method in arguments.methods:
        training = (f"--method={method}", "--dataset=folder", f"--data_dir={arguments.data_dir}", *TRAINING)
        given = (f"--method={method}", "--seed=0", *TRAINING)
        run = finished("pretrain", given)
        if run is None:
            sslmlflow("pretrain", *training, "--resume=auto")
            run = finished("pretrain", given)
            assert run is not None
        sslmlflow("evaluate", f"--run={run.info.run_id}", *EVALUATION)
        runs.append(run.info.run_id)
        (arguments.results / f"{method}.json").write_text(json.dumps(_cell(method, run), indent=1) + "\n")
    sslmlflow("report", f"--runs={','.join(runs)}", "--register=false")
    cells = {method: json.loads((arguments.results / f"{method}.json").read_text()) for method in arguments.methods}
    paper = json.loads((arguments.results / "paper_table_1.json").read_text())["r"]
    tables = [*correlation_tables(cells, paper), *choice_table(cells)]
    (arguments.results / "tables.md").write_text("\n".join(tables) + "\n")


def correlation_tables(cells: dict[str, Cell], paper: dict[str, Any]) -> Iterator[str]:
    """Pearson's r of each metric with each probe; in brackets the paper's, which is of its own probe only."""
    columns = [(method, init) for method in cells for init in INIT]
    for probe in (PROBE, STANDARDISED):
        yield f"## Pearson's r with the {CATALOGUE[probe].name}\n"
        yield _line(["", *(f"{method}, {init}" for method, init in columns)])
        yield _line(["---", *["---:"] * len(columns)])
        for key in TABLED:
            if not CATALOGUE[key].accuracy:
                printed = [paper[method].get(key, {}).get(init) if probe == PROBE else None for method, init in columns]
                found = [_correlated(cells[method], key, probe, INIT[init]) for method, init in columns]
                yield _line([CATALOGUE[key].name, *map(_told, found, printed)])
        ranges = [cells[method]["values"][probe][INIT[init] :] for method, init in columns]
        yield _line(["range of the probe", *(f"{100 * min(r):.1f} to {100 * max(r):.1f} %" for r in ranges)]) + "\n"


def _correlated(cell: Cell, key: str, probe: str, start: int) -> Correlation:
    return pearson(cell["values"][key][start:], cell["values"][probe][start:])


def _told(ours: Correlation, printed: float | None) -> str:
    told = "undefined" if ours.reason else f"{ours.r:+.2f}{'*' * (ours.p < 0.05)}"
    return told if printed is None else f"{told} ({printed:+.2f})"


def choice_table(cells: dict[str, Cell]) -> Iterator[str]:
    """Which milestone each criterion chooses, and the points of the standardised probe that this loses."""
    yield "## The milestone with the highest criterion, and the points of the standardised probe it lost\n"
    yield _line(["", *cells])
    yield _line(["---", *["---:"] * len(cells)])
    for key in CRITERIA:
        row = []
        for cell in cells.values():
            values = cell["values"]
            rated = [place for place, value in enumerate(values[key]) if value is not None]
            place = max(rated, key=values[key].__getitem__)
            lost = 100 * (max(values[STANDARDISED]) - values[STANDARDISED][place])
            row.append(f"epoch {values['epoch'][place]:.0f}, {lost:.1f}")
        yield _line([CATALOGUE[key].name, *row])


def _line(columns: list[str]) -> str:
    return f"| {' | '.join(columns)} |"


def _cell(method: str, run: Run) -> Cell:
    history = history_of(connect(), run.info.run_id)
    return {
        "method": method,
        "training": TRAINING,
        "evaluation": EVALUATION,
        "seed": 0,
        "threads": run.data.params["resolved/threads"],
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "mlflow": mlflow.__version__},
        "values": {key: history.column(key) for key in sorted(history.values)},
    }


if __name__ == "__main__":
    main()
