"""What single precision costs: every metric on the same 2,000 embeddings in float32 and in float64.

Differences are relative to the value in float64, the largest of a metric's parts; 0 where all is computed in float64.
The tests hold rates within 1e-5 and smooth metrics within 1e-3 (`tests/metrics/test_properties.py`); accuracies and
counts change by whole images, the map and what is found on it with every rounding.
"""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from benchmarks.embeddings import embeddings
from benchmarks.growth import ONE_VIEW, TWO_VIEWS, run

IMAGES, WIDTH = 2_000, 512
LEFT_OUT = (
    *("collapsed", "map", "k-means of a map, k = 10", "outliers of a map", "NMI, ARI, AMI, accuracy"),
    "50 nearest neighbours",
)


def main() -> None:
    views, classes = embeddings(IMAGES, WIDTH)
    found = {}
    print(f"{'metric':36}{'float32':>14}{'float64':>14}{'difference':>12}")
    for name in (*TWO_VIEWS, *ONE_VIEW):
        if name in LEFT_OUT:
            continue
        single, double = (np.array(list(numbers(run(name, given, classes)))) for given in (views, views.double()))
        difference = float((np.abs(single - double) / np.maximum(np.abs(double), 1e-12)).max())
        found[name] = difference
        print(f"{name:36}{single[0]:14.8g}{double[0]:14.8g}{difference:12.1e}", flush=True)
    Path("docs/results/metrics/precision.json").write_text(json.dumps(found, indent=1) + "\n")


def numbers(found: object) -> Iterable[float]:
    """The finite numbers of what a metric gives."""
    parts = found.values() if isinstance(found, dict) else found if isinstance(found, tuple) else [found]
    for part in parts:
        if isinstance(part, tuple):
            yield from numbers(part)
        elif np.isfinite(value := float(part)):
            yield value


if __name__ == "__main__":
    main()
