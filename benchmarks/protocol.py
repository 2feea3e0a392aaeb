"""The label-free protocol of `evaluate` against a plain pipeline of the libraries, side by side.

Both: a UMAP map to 3 dimensions with 50 neighbours, k-means with 10 and 20 clusters on it, the silhouette of the 10 in
the embeddings, the agreement of the two, the entropy of the map. Ours finds neighbours exactly, by matrix products, and
clusters by cosine; the plain one is umap-learn as it comes (approximate neighbours above 4,096 rows), scikit-learn's
KMeans on the map's rows scaled to norm 1, its silhouette and AMI. For each seed a process of each side, taking turns;
each process does it twice: the first time compiles what the side needs, the second does not. UMAP's layout, which is
the same code on both sides, is timed apart.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import umap
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_mutual_info_score, silhouette_score
from sklearn.preprocessing import normalize
from torch import Tensor

from benchmarks.embeddings import embeddings
from sslmlflow.metrics.catalogue import AGREEMENT, ENTROPY, SILHOUETTE
from sslmlflow.metrics.partition import agreement, silhouettes
from sslmlflow.metrics.unlabelled.clustering import spherical_kmeans
from sslmlflow.metrics.unlabelled.entropy import histogram_entropy
from sslmlflow.metrics.unlabelled.umap_embedding import umap_embedding

Values = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--side", choices=SIDES, help="do it twice with the seed --seeds, and print seconds and values")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(twice(arguments.side, embeddings(arguments.images, arguments.width)[0][0], arguments.seeds)))
        return
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in SIDES}
    for seed in range(arguments.seeds):
        for name in SIDES:
            size = f"--images={arguments.images}", f"--width={arguments.width}"
            command = [sys.executable, "-m", "benchmarks.protocol", *size, f"--side={name}", f"--seeds={seed}"]
            found[name].append(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))
            print(f"seed {seed}, {name}: {found[name][-1]['seconds']}", flush=True)
    told = [*times(found), "", *values(found)]
    print("\n".join(["", *told]))
    if arguments.json:
        about = {"torch": torch.__version__, "umap": umap.__version__, "threads": torch.get_num_threads()}
        arguments.json.write_text(json.dumps({**about, "found": found}, indent=1) + "\n")


def twice(side: str, z: Tensor, seed: int) -> dict[str, Any]:
    """Seconds of the first and the second time, those of the second's layout, and what was found."""
    layout: list[float] = []
    optimise = umap.umap_.optimize_layout_euclidean

    def timed(*given: Any, **named: Any) -> Any:
        started = time.perf_counter()
        made = optimise(*given, **named)
        layout.append(time.perf_counter() - started)
        return made

    umap.umap_.optimize_layout_euclidean = timed
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        measured = SIDES[side](z, seed)
        seconds.append(time.perf_counter() - started)
    return {"seconds": [*seconds, layout[-1]], "values": measured}


def times(found: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Medians over the seeds, and their ratios."""
    lines = [f"{'seconds':28}{'ours':>8}{'plain':>8}{'ratio':>8}"]
    for place, what in enumerate(("first in a process", "each further one", "of which UMAP's layout")):
        own, other = (statistics.median(one["seconds"][place] for one in found[name]) for name in ("ours", "plain"))
        lines.append(f"{what:28}{own:8.1f}{other:8.1f}{other / own:8.2f}")
    return lines


def values(found: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Means and spreads over the seeds, and how far the means are apart."""
    lines = [f"{'':12}{'ours':>18}{'plain':>18}{'difference':>12}"]
    for key in (AGREEMENT, SILHOUETTE, ENTROPY):
        told = {name: [one["values"][key] for one in found[name]] for name in found}
        means = {name: statistics.fmean(given) for name, given in told.items()}
        spread = {name: f"{means[name]:.3f} ± {statistics.stdev(given):.3f}" for name, given in told.items()}
        difference = means["ours"] - means["plain"]
        lines.append(f"{key.partition('/')[2][:11]:12}{spread['ours']:>18}{spread['plain']:>18}{difference:12.3f}")
    return lines


def ours(z: Tensor, seed: int) -> Values:
    """As `evaluate` does, but for the other numbers of clusters that it draws a figure of."""
    z3 = umap_embedding(z, seed)
    few, many = (spherical_kmeans(z3, k, seed + k).assignment for k in (10, 20))
    silhouette = silhouettes(z, {"C1": few})["C1"]
    return {AGREEMENT: agreement(few, many), SILHOUETTE: silhouette, ENTROPY: histogram_entropy(z3)}


def plain(z: Tensor, seed: int) -> Values:
    """As one writes it down with the libraries."""
    rows = z.numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        z3 = umap.UMAP(n_components=3, n_neighbors=50, min_dist=0.1, random_state=seed).fit_transform(rows)
    few, many = (KMeans(k, n_init=10, random_state=seed + k).fit_predict(normalize(z3)) for k in (10, 20))
    bins = np.floor((z3 - z3.min(0)) / (0.4 * z3.std(0)))
    shares = np.unique(bins, axis=0, return_counts=True)[1] / len(z3)
    return {
        AGREEMENT: adjusted_mutual_info_score(few, many),
        SILHOUETTE: float(silhouette_score(rows, few)),
        ENTROPY: float(-(shares * np.log(shares)).sum()),
    }


SIDES: dict[str, Callable[[Tensor, int], Values]] = {"ours": ours, "plain": plain}


if __name__ == "__main__":
    main()
