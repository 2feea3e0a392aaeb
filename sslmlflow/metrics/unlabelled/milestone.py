"""The label-free metrics that every milestone gets at once."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import isfinite

import torch
from torch import Tensor

from sslmlflow.metrics.failures import FAILURES, why
from sslmlflow.metrics.unlabelled.alarms import PARTIAL, partly_collapsed
from sslmlflow.metrics.unlabelled.arrays import Array, as_tensor
from sslmlflow.metrics.unlabelled.coding_rate import (
    adjusted_mean_and_resolution,
    coding_rate_reduction_pairs,
    coding_rate_reduction_pooled,
    directions,
)
from sslmlflow.metrics.unlabelled.collapse import (
    MIN_IMAGES,
    collapsed,
    lost_directions,
    near_duplicates,
)
from sslmlflow.metrics.unlabelled.determinants import check_eps
from sslmlflow.metrics.unlabelled.hypersphere import alignment_loss, infonce, retrieval_accuracy, uniformity_loss
from sslmlflow.metrics.unlabelled.lidar import lidar
from sslmlflow.metrics.unlabelled.spectrum import alpha_req, rankme, stable_rank

PAIRS = ("crr", "crr_R", "crr_U", "crr_A")
POOLED = ("crr_pooled",)
ADJUSTED = ("crr_adjusted", "crr_adjusted_resolution")
RANKME = ("rankme",)
EARLY = ("collapsed", *PAIRS, *POOLED, *ADJUSTED, *RANKME)
LAST = (*EARLY, "stable_rank", "alpha_req", "alignment_loss", "uniformity_loss", "retrieval", "infonce", *PARTIAL)
NOT_FINITE = {
    "crr_U": "an embedding is zero and so has no direction",
    "crr_A": "needs two views, two features and no embedding of zero",
}


@dataclass(frozen=True)
class Scores:
    """Finite metric values by name, for every metric that has no value the reason why, and the seconds of `crr`.

    `deviations` of the adjusted coding rate reduction over halves of the images, where they were asked for.
    """

    values: dict[str, float]
    undefined: dict[str, str]
    seconds: dict[str, float] = field(default_factory=dict)
    deviations: tuple[float, ...] = ()

    @property
    def alarms(self) -> list[str]:
        """In words, in what way the last layer of an encoder has partly collapsed, if it has."""
        lost, near = (self.values.get(f"label_free/{name}", 0.0) for name in PARTIAL)
        return partly_collapsed(lost, near)


@torch.no_grad()
def milestone_metrics(early: Array, last: Array, eps: float = 0.5) -> Scores:
    """Measure the early and the last layer of an encoder on held-out images: rates in nats, RankMe, collapse.

    early, last: (v, n, d) floats, v views of the same n images; d may differ. The names are `label_free/<metric>`
    for the last and `early/<metric>` for the early layer, with the metrics `crr`, `crr_R`, `crr_U`, `crr_A` (one
    class per image), `crr_pooled`, `crr_adjusted` and `crr_adjusted_resolution` (mean and range over three shifts),
    all of unit rows; `rankme` of the first view's raw embeddings; `collapsed`, 1.0 when any view is, else 0.0. For the
    last layer also `stable_rank` and `alpha_req`, as `rankme`, and `alignment_loss`, `uniformity_loss` (first
    view), `retrieval` and `infonce`, of unit rows, and `lost_directions` and `near_duplicates` of the first view's raw
    embeddings.

    Every name is in exactly one of the two dicts. Non-finite embeddings and fewer than 4 images leave all metrics of
    a layer undefined, collapse leaves all but `collapsed`: a collapsed layer has no score that could look good.
    `seconds` holds what the `crr` of each layer took that has one, unit rows included.
    Raises ValueError for eps <= 0 and arrays that are not floats of the shapes above.
    """
    check_eps(eps)
    shapes = [tuple(layer.shape) for layer in (early, last)]
    if any(len(s) != 3 or s[0] == 0 or s[2] == 0 for s in shapes) or shapes[0][:2] != shapes[1][:2]:
        raise ValueError(f"early and last must be (views, images, features) of the same images, got {shapes}")
    values: dict[str, float] = {}
    undefined: dict[str, str] = {}
    seconds: dict[str, float] = {}
    for prefix, layer, names in (("early/", early, EARLY), ("label_free/", last, LAST)):
        scores = layer_metrics(layer, eps, names)
        values |= {prefix + name: value for name, value in scores.values.items()}
        undefined |= {prefix + name: reason for name, reason in scores.undefined.items()}
        seconds |= {prefix + name: taken for name, taken in scores.seconds.items()}
    return Scores(values, undefined, seconds)


@torch.no_grad()
def layer_metrics(layer: Array, eps: float = 0.5, names: Sequence[str] = LAST) -> Scores:
    """The same of one layer (v, n, d), by the names alone; `lidar` of its raw rows is measured where it is named."""
    views = as_tensor(layer)
    v, n, _ = views.shape
    broken = int((~torch.isfinite(views)).any(-1).sum())
    if broken:
        return _none(f"{broken} of {v * n} embeddings hold NaN or infinity", names)
    if n < MIN_IMAGES:
        return _none(f"needs at least {MIN_IMAGES} images, got {n}", names)
    for view in layer:
        if reason := collapsed(view):
            return Scores({"collapsed": 1.0}, _none(f"collapsed: {reason}", names[1:]).undefined)
    return _measured(views, eps, names)


def _measured(views: Tensor, eps: float, wanted: Sequence[str]) -> Scores:
    started = time.perf_counter()
    unit = directions(views)
    metrics: list[tuple[Sequence[str], Callable[[], Sequence[Tensor | float]]]] = [
        (PAIRS, lambda: _pairs(unit, eps)),
        (POOLED, lambda: (coding_rate_reduction_pooled(unit, eps).dR,)),
        (ADJUSTED, lambda: adjusted_mean_and_resolution(unit, eps)),
        (RANKME, lambda: (rankme(views[0]),)),
        (("stable_rank",), lambda: (stable_rank(views[0]),)),
        (("alpha_req",), lambda: (alpha_req(views[0]),)),
        (("lidar",), lambda: (lidar(views),)),
        (("alignment_loss",), lambda: (alignment_loss(unit),)),
        (("uniformity_loss",), lambda: (uniformity_loss(unit[0]),)),
        (("retrieval",), lambda: (retrieval_accuracy(views),)),
        (("infonce",), lambda: (infonce(unit),)),
        (("lost_directions",), lambda: (lost_directions(views[0]),)),
        (("near_duplicates",), lambda: (near_duplicates(views[0]),)),
    ]
    values, undefined, seconds = {"collapsed": 0.0}, dict[str, str](), dict[str, float]()
    for names, compute in metrics:
        if names[0] not in wanted:
            continue
        try:
            results = [float(result) for result in compute()]
        except FAILURES as error:
            undefined |= dict.fromkeys(names, why(error))
            continue
        if names is PAIRS:  # the first: nothing else but the unit rows was made until here
            seconds["crr"] = time.perf_counter() - started
        for name, value in zip(names, results, strict=True):
            if isfinite(value):
                values[name] = value
            else:
                undefined[name] = NOT_FINITE.get(name, f"the value is {value}, not a finite number")
    return Scores(values, undefined, seconds)


def _pairs(unit: Tensor, eps: float) -> tuple[Tensor, ...]:
    rates = coding_rate_reduction_pairs(unit, eps)
    return rates.dR, rates.R, rates.U, rates.A


def _none(reason: str, names: Sequence[str]) -> Scores:
    return Scores({}, dict.fromkeys(names, reason))
