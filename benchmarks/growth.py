"""How seconds and memory of every metric grow with the number of images, and what 50,000 x 2,048 needs.

Each metric in a process of its own, from 1,000 images on, up to the number of which it is to take more than --limit
seconds, as its growth until then foretells; skipped ones are named. Memory is the most that the process held, torch and
embeddings (one view or two, float32) included. The exponent is that of seconds over the three largest numbers.
"""

import argparse
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.embeddings import embeddings
from sslmlflow.memory import peak_mb, start_peak
from sslmlflow.metrics.labelled.clustering_scores import clustering_scores
from sslmlflow.metrics.labelled.coding_rate import coding_rate_reduction_labels
from sslmlflow.metrics.labelled.knn import knn_accuracy, weighted_knn_accuracy
from sslmlflow.metrics.labelled.linear_probe import standardised_probe
from sslmlflow.metrics.partition import silhouettes
from sslmlflow.metrics.unlabelled.adjusted_halves import adjusted_interval
from sslmlflow.metrics.unlabelled.clid import cluster_learnability, intrinsic_dimension
from sslmlflow.metrics.unlabelled.clustering import spherical_kmeans
from sslmlflow.metrics.unlabelled.coding_rate import (
    adjusted_mean_and_resolution,
    coding_rate_reduction_pairs,
    coding_rate_reduction_pooled,
    coding_rate_reduction_soft,
    unit_rows,
)
from sslmlflow.metrics.unlabelled.collapse import collapsed, lost_directions, near_duplicates
from sslmlflow.metrics.unlabelled.entropy import far_from_the_rest, histogram_entropy
from sslmlflow.metrics.unlabelled.hypersphere import alignment_loss, retrieval_accuracy, uniformity_loss
from sslmlflow.metrics.unlabelled.lidar import lidar
from sslmlflow.metrics.unlabelled.neighbours import nearest_neighbours
from sslmlflow.metrics.unlabelled.spectrum import alpha_req, effective_rank, rankme, stable_rank
from sslmlflow.metrics.unlabelled.umap_embedding import umap_embedding

SIZES = (1_000, 2_000, 5_000, 10_000, 20_000, 50_000)
Classes = NDArray[np.int64]


def _halves(z: Tensor, y: Classes) -> tuple[Any, ...]:
    return z[::2], y[::2], z[1::2], y[1::2]


TWO_VIEWS: dict[str, Callable[[Tensor], object]] = {
    "pair CRR": lambda v: coding_rate_reduction_pairs(unit_rows(v)),
    "pooled CRR": lambda v: coding_rate_reduction_pooled(unit_rows(v)),
    "adjusted CRR": lambda v: adjusted_mean_and_resolution(unit_rows(v)),
    "its interval, 10 halves": lambda v: adjusted_interval(unit_rows(v), resamples=10),
    "LiDAR": lidar,
    "alignment loss": alignment_loss,
    "retrieval": retrieval_accuracy,
}
ONE_VIEW: dict[str, Callable[[Tensor, Classes], object]] = {
    "soft CRR, 20 anchors": lambda z, y: coding_rate_reduction_soft(unit_rows(z), normalise="anchor", anchors=20),
    "RankMe": lambda z, y: rankme(z),
    "stable rank": lambda z, y: stable_rank(z),
    "effective rank": lambda z, y: effective_rank(z),
    "alpha-ReQ": lambda z, y: alpha_req(z),
    "collapsed": lambda z, y: collapsed(z),
    "lost directions": lambda z, y: lost_directions(z),
    "near duplicates": lambda z, y: near_duplicates(z),
    "uniformity loss": lambda z, y: uniformity_loss(z),
    "intrinsic dimension": lambda z, y: intrinsic_dimension(z),
    "cluster learnability": lambda z, y: cluster_learnability(z, y),
    "50 nearest neighbours": lambda z, y: nearest_neighbours(z, 50),
    "map": lambda z, y: umap_embedding(z, seed=0),
    "k-means of a map, k = 10": lambda z, y: spherical_kmeans(z[:, :3] + 1, 10, seed=0),
    "entropy of a map": lambda z, y: histogram_entropy(z[:, :3]),
    "outliers of a map": lambda z, y: far_from_the_rest(z[:, :3]),
    "silhouette": lambda z, y: silhouettes(z, {"C1": y}),
    "supervised CRR": lambda z, y: coding_rate_reduction_labels(unit_rows(z), y),
    "NMI, ARI, AMI, accuracy": lambda z, y: clustering_scores(y, np.roll(y, 1)),
    "5-NN, half and half": lambda z, y: knn_accuracy(*_halves(z, y)),
    "200-NN, half and half": lambda z, y: weighted_knn_accuracy(*_halves(z, y)),
    "standardised probe, half and half": lambda z, y: standardised_probe(*_halves(z, y)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=float, default=60.0, help="seconds")
    parser.add_argument("--metrics", nargs="+", default=[*TWO_VIEWS, *ONE_VIEW])
    parser.add_argument("--metric", help="measure this one, here, and print JSON")
    parser.add_argument("--widths", type=int, nargs="+", default=(512, 2048))
    parser.add_argument("--width", type=int, default=512, help="of --metric")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.metric:
        print(json.dumps(grown(arguments.metric, arguments.width, arguments.sizes, arguments.limit)))
        return
    found = {
        name: {width: measured(name, width, arguments) for width in arguments.widths} for name in arguments.metrics
    }
    if arguments.json:
        about = {"torch": torch.__version__, "threads": torch.get_num_threads(), "limit": arguments.limit}
        arguments.json.write_text(json.dumps({**about, "found": found}, indent=1) + "\n")
    print(table(found))


def measured(name: str, width: int, arguments: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds and MB by number of images; of 2,048 features the largest number alone, which may take ten limits."""
    sizes, limit = (arguments.sizes, arguments.limit) if width == 512 else (arguments.sizes[-1:], 10 * arguments.limit)
    given = [f"--metric={name}", f"--width={width}", f"--limit={limit}", "--sizes", *map(str, sizes)]
    done = subprocess.run([sys.executable, "-m", "benchmarks.growth", *given], capture_output=True, text=True)
    result: dict[str, list[float]] = json.loads(done.stdout) if done.returncode == 0 else {}
    print(f"{name}, {width}: {result or done.stderr[-300:]}", file=sys.stderr, flush=True)
    return result


def grown(name: str, width: int, sizes: list[int], limit: float) -> dict[str, list[float]]:
    """Seconds and MB by number of images, until the next number would take longer than the limit."""
    found: dict[str, list[float]] = {}
    taken: list[float] = []
    run(name, *embeddings(300, width))  # what is compiled and loaded once
    for n in sizes:
        if len(taken) > 1 and taken[-1] * (n / sizes[len(taken) - 1]) ** exponent(sizes[: len(taken)], taken) > limit:
            break
        views, classes = embeddings(n, width)
        views = views if name in TWO_VIEWS else views[:1].clone()
        start_peak(torch.device("cpu"))
        started = time.perf_counter()
        run(name, views, classes)
        taken.append(time.perf_counter() - started)
        found[str(n)] = [taken[-1], peak_mb(torch.device("cpu")) or math.nan]
    return found


def run(name: str, views: Tensor, classes: Tensor) -> object:
    """Measure the metric, of one view where it needs one alone."""
    if name in TWO_VIEWS:
        return TWO_VIEWS[name](views)
    return ONE_VIEW[name](views[0], classes.numpy())


def exponent(sizes: list[int], taken: list[float]) -> float:
    """The slope of log seconds over log images, of the last three."""
    last = slice(-3, None)
    return float(np.polyfit(np.log(sizes[last]), np.log(taken[last]), 1)[0])


def table(found: dict[str, dict[int, dict[str, list[float]]]]) -> str:
    """One row a metric: seconds, the exponent, and memory at the largest numbers."""
    heads = ["metric", *(f"{n:,}" for n in SIZES), "exponent", "MB at the last", "50,000 x 2,048: s", "MB"]
    rows = [heads]
    for name, by_width in found.items():
        own = by_width[512]
        taken = [own[str(n)][0] for n in SIZES if str(n) in own]
        told = [f"{own[str(n)][0]:.2g}" if str(n) in own else "skipped" for n in SIZES]
        wide = by_width.get(2048, {}).get("50000")
        more = [f"{wide[0]:.0f}", f"{wide[1]:,.0f}"] if wide else ["–", "–"]
        grows = f"{exponent(list(SIZES[: len(taken)]), taken):.1f}" if len(taken) > 1 else "–"
        rows.append([name, *told, grows, f"{list(own.values())[-1][1]:,.0f}" if own else "–", *more])
    return "\n".join(f"| {' | '.join(row)} |" for row in [heads, ["---", *["---:"] * (len(heads) - 1)], *rows[1:]])


if __name__ == "__main__":
    main()
