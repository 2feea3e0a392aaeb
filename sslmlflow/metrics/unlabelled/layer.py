"""The label-free metrics of a layer's embeddings, which every milestone gets at once."""

import importlib
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sslmlflow.metrics.catalogue import CATALOGUE, CRR, OF_LAYER, Metric
from sslmlflow.metrics.results import Results
from sslmlflow.metrics.unlabelled.arrays import Array, as_tensor
from sslmlflow.metrics.unlabelled.coding_rate import directions
from sslmlflow.metrics.unlabelled.collapse import MIN_IMAGES, collapsed
from sslmlflow.metrics.unlabelled.determinants import check_eps

COLLAPSED = "collapsed"
OF_TWO_VIEWS = tuple(metric for metric in OF_LAYER if metric.views == 2)
EARLY = (COLLAPSED, *(metric.short_name for metric in OF_TWO_VIEWS if metric.early))
LAST = (COLLAPSED, *(metric.short_name for metric in OF_TWO_VIEWS))


@torch.no_grad()
def milestone_metrics(early: Array, last: Array, eps: float = 0.5) -> Results:
    """Measure the early and the last layer of an encoder on held-out images: rates in nats, RankMe, collapse.

    early, last: (v, n, d) floats, v views of the same n images; d may differ. The names are `label_free/<metric>`
    for the last and `early/<metric>` for the early layer, with the metrics `crr`, `crr_R`, `crr_U`, `crr_A` (one
    class per image), `crr_pooled`, `crr_adjusted` and `crr_adjusted_resolution` (mean and range over three shifts),
    all of unit rows; `rankme` of the first view's raw embeddings; `collapsed`, 1.0 when any view is, else 0.0. For the
    last layer also `stable_rank` and `alpha_req`, as `rankme`, and `alignment_loss`, `uniformity_loss` (first
    view), `retrieval` and `infonce`, of unit rows, and `lost_directions` and `near_duplicates` of the first view's raw
    embeddings.

    Every name is in exactly one of `values` and `undefined`. Non-finite embeddings and fewer than 4 images leave all
    metrics of a layer undefined, collapse leaves all but `collapsed`: a collapsed layer has no score that could look
    good. `seconds` holds what each computation took, of `crr` unit rows included.
    Raises ValueError for eps <= 0 and arrays that are not floats of the shapes above.
    """
    check_eps(eps)
    shapes = [tuple(layer.shape) for layer in (early, last)]
    if any(len(s) != 3 or s[0] == 0 or s[2] == 0 for s in shapes) or shapes[0][:2] != shapes[1][:2]:
        raise ValueError(f"early and last must be (views, images, features) of the same images, got {shapes}")
    results = Results()
    for prefix, layer, names in (("early/", early, EARLY), ("label_free/", last, LAST)):
        results.update(layer_metrics(layer, eps, names), prefix)
    return results


@torch.no_grad()
def layer_metrics(layer: Array, eps: float = 0.5, names: Sequence[str] = LAST) -> Results:
    """The same of one layer (v, n, d), by the names alone; `lidar` of its raw rows is measured where it is named."""
    views, results = as_tensor(layer), Results()
    v, n, _ = views.shape
    broken = int((~torch.isfinite(views)).any(-1).sum())
    if broken:
        results.fail(names, f"{broken} of {v * n} embeddings hold NaN or infinity")
        return results
    if n < MIN_IMAGES:
        results.fail(names, f"needs at least {MIN_IMAGES} images, got {n}")
        return results
    for view in layer:
        if reason := collapsed(view):
            results.values[COLLAPSED] = 1.0
            results.fail([name for name in names if name != COLLAPSED], f"collapsed: {reason}")
            return results
    results.values[COLLAPSED] = 0.0
    _measure(views, eps, names, results)
    return results


def _measure(views: Tensor, eps: float, names: Sequence[str], results: Results) -> None:
    """Measure what is named of sound embeddings, the rows of one function at once."""
    started = time.perf_counter()
    unit = directions(views)
    unit_seconds = time.perf_counter() - started
    given = {"views": views, "view": views[0], "unit_views": unit, "unit_view": unit[0], "eps": eps}
    by_function: dict[str, list[Metric]] = {}
    for metric in OF_LAYER:
        if metric.short_name in names:
            by_function.setdefault(metric.function, []).append(metric)
    for function, metrics in by_function.items():
        _measure_by(function, metrics, [given[name] for name in metrics[0].takes], results)
    if (name := CATALOGUE[CRR].short_name) in results.seconds:
        results.seconds[name] += unit_seconds


def _measure_by(function: str, metrics: Sequence[Metric], arguments: Sequence[Any], results: Results) -> None:
    def compute() -> list[Any]:
        found = function_of(function)(*arguments)
        return [getattr(found, metric.part) if metric.part else found for metric in metrics]

    reasons = {metric.short_name: metric.not_finite for metric in metrics if metric.not_finite}
    results.add([metric.short_name for metric in metrics], compute, reasons)


def function_of(path: str) -> Any:
    """The function at a dotted path."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)
