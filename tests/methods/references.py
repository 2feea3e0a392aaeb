"""The loss of every method written out from its paper's equations, with loops over numbers."""

import itertools
import math
import statistics
from collections.abc import Callable, Sequence

from torch import Tensor

from sslmlflow.methods import Method, Progress

Row = Sequence[float]
Rows = Sequence[Row]


def dot(u: Row, v: Row) -> float:
    return sum(a * b for a, b in zip(u, v, strict=True))


def unit(row: Row) -> Row:
    length = math.sqrt(dot(row, row))
    return [a / length for a in row]


def softmax(row: Row) -> Row:
    powers = [math.exp(a) for a in row]
    return [power / sum(powers) for power in powers]


def cross_entropy(wanted: Row, predicted: Row) -> float:
    return -sum(q * math.log(p) for q, p in zip(wanted, predicted, strict=True))


def mean(values: Sequence[float]) -> float:
    return statistics.fmean(values)


def simclr(first: Rows, second: Rows, temperature: float = 0.5) -> float:
    """Chen et al. 2020, Eq. 1, averaged over both orders of each positive pair."""
    z = [unit(row) for pair in zip(first, second, strict=True) for row in pair]  # 2k and 2k + 1 are a pair
    total = 0.0
    for i in range(len(z)):
        j = i + 1 if i % 2 == 0 else i - 1
        denominator = sum(math.exp(dot(z[i], z[k]) / temperature) for k in range(len(z)) if k != i)
        total -= math.log(math.exp(dot(z[i], z[j]) / temperature) / denominator)
    return total / len(z)


def simsiam(p1: Rows, z1: Rows, p2: Rows, z2: Rows) -> float:
    """Chen and He 2021, Eq. 1 and 2."""
    forward = [-dot(unit(p), unit(z)) for p, z in zip(p1, z2, strict=True)]
    return mean(forward) / 2 + mean([-dot(unit(p), unit(z)) for p, z in zip(p2, z1, strict=True)]) / 2


def moco(query: Rows, key: Rows, queue: Rows, temperature: float = 0.1) -> float:
    """He et al. 2020, Eq. 1: one positive and the queue's keys for each query."""
    losses = []
    for q, k in zip(query, key, strict=True):
        positive = math.exp(dot(unit(q), unit(k)) / temperature)
        losses.append(-math.log(positive / (positive + sum(math.exp(dot(unit(q), n) / temperature) for n in queue))))
    return mean(losses)


def byol(p1: Rows, t2: Rows, p2: Rows, t1: Rows) -> float:
    """Grill et al. 2020, Eq. 2 of either view."""
    return sum(
        mean([2 - 2 * dot(unit(p), unit(t)) for p, t in zip(prediction, target, strict=True)])
        for prediction, target in ((p1, t2), (p2, t1))
    )


def barlow_twins(first: Rows, second: Rows, redundancy: float = 0.0051, scale: float = 0.1) -> float:
    """Zbontar et al. 2021, Eq. 1 and 2; features are standardised along the batch, the variance with 1e-5 added."""
    a, b = (list(zip(*map(standardised, zip(*rows, strict=True)), strict=True)) for rows in (first, second))
    total = 0.0
    for i, j in itertools.product(range(len(a[0])), repeat=2):
        c = mean([a[k][i] * b[k][j] for k in range(len(a))])
        total += (1 - c) ** 2 if i == j else redundancy * c**2
    return scale * total


def standardised(column: Row) -> Row:
    centre = mean(column)
    variance = mean([(x - centre) ** 2 for x in column])
    return [(x - centre) / math.sqrt(variance + 1e-5) for x in column]


def covariance(rows: Rows, i: int, j: int) -> float:
    centres = [mean([row[k] for row in rows]) for k in range(len(rows[0]))]
    return sum((row[i] - centres[i]) * (row[j] - centres[j]) for row in rows) / (len(rows) - 1)


def variance_term(rows: Rows) -> float:
    d = len(rows[0])
    return mean([max(0.0, 1 - math.sqrt(covariance(rows, j, j) + 1e-4)) for j in range(d)])


def covariance_term(rows: Rows) -> float:
    d = len(rows[0])
    return sum(covariance(rows, i, j) ** 2 for i in range(d) for j in range(d) if i != j) / d


def distance(first: Rows, second: Rows) -> float:
    return mean([(a - b) ** 2 for u, v in zip(first, second, strict=True) for a, b in zip(u, v, strict=True)])


def vicreg(first: Rows, second: Rows) -> float:
    """Bardes et al. 2022, Eq. 1 to 6, weights 25, 25, 1."""
    spread = (variance_term(first) + variance_term(second)) / 2
    return 25 * distance(first, second) + 25 * spread + covariance_term(first) + covariance_term(second)


def vicregl(
    wholes: Sequence[Rows], maps: Sequence[Sequence[Rows]], places: Sequence[Sequence[Rows]], share: float = 0.75
) -> float:
    """Bardes et al. 2022 (VICRegL), Eq. 1 to 4; `maps[view][image][place]`, the two global views first."""
    views = range(len(wholes))
    pairs = [(a, b) for a in range(2) for b in views if a != b]
    whole = (
        25 * mean([distance(wholes[a], wholes[b]) for a, b in pairs])
        + 25 * mean([variance_term(wholes[v]) for v in views])
        + mean([covariance_term(wholes[v]) for v in views])
    )
    local = []
    for a, b in pairs:
        matches = max(round(0.4 * min(len(maps[a][0]), len(maps[b][0]))), 1)
        found = 0.0
        for where in (places, maps):
            for ours, theirs in ((a, b), (b, a)):
                pairs_of_images = [
                    matched(maps[ours][i], maps[theirs][i], where[ours][i], where[theirs][i], matches)
                    for i in range(len(maps[ours]))
                ]
                found += mean_vicreg_of_ranks(pairs_of_images) / 2
        local.append(found)
    return share * whole + (1 - share) * mean(local)


def matched(ours: Rows, theirs: Rows, our_places: Rows, their_places: Rows, matches: int) -> list[tuple[Row, Row]]:
    """The closest pairs of a place and its nearest other, closest first."""
    found = []
    for place, at in zip(ours, our_places, strict=True):
        length, nearest = min((math.dist(at, other), k) for k, other in enumerate(their_places))
        found.append((length, place, theirs[nearest]))
    return [(mine, other) for _, mine, other in sorted(found, key=lambda one: one[0])[:matches]]


def mean_vicreg_of_ranks(images: Sequence[Sequence[tuple[Row, Row]]]) -> float:
    """VICReg of the first pairs of all images, of the second ones, ..., averaged; covariances of both sides, too."""
    values = []
    for rank in range(len(images[0])):
        first, second = [pairs[rank][0] for pairs in images], [pairs[rank][1] for pairs in images]
        values.append(
            25 * distance(first, second)
            + 25 * (variance_term(first) + variance_term(second)) / 2
            + (covariance_term(first) + covariance_term(second)) / 2
        )
    return mean(values)


def sinkhorn(scores: Rows, eps: float = 0.05, iterations: int = 3) -> list[Row]:
    """Caron et al. 2020 (SwAV), Eq. 5: columns of equal sums, then rows."""
    q = [[math.exp(a / eps) for a in row] for row in scores]
    for _ in range(iterations):
        sums = [sum(row[k] for row in q) for k in range(len(q[0]))]
        q = [[a / s for a, s in zip(row, sums, strict=True)] for row in q]
        q = [[a / sum(row) for a in row] for row in q]
    return q


def swav(scores: Sequence[Rows], queued: Sequence[Rows], temperature: float = 0.1) -> float:
    """Caron et al. 2020 (SwAV), Eq. 2: `scores[view][image]`; `queued` of either global view join in the codes."""
    losses = []
    for view in range(2):
        codes = sinkhorn([*scores[view], *(queued[view] if queued else [])])[: len(scores[view])]
        for other in range(len(scores)):
            if other != view:
                predicted = [softmax([a / temperature for a in row]) for row in scores[other]]
                losses.append(mean([cross_entropy(q, p) for q, p in zip(codes, predicted, strict=True)]))
    return mean(losses)


def dino(
    student: Sequence[Rows], teacher: Sequence[Rows], centre: Row, sharp: float, temperature: float = 0.1
) -> float:
    """Caron et al. 2021 (DINO), Eq. 3, the teacher centred and sharpened."""
    losses = []
    for view in range(2):
        for other in range(len(student)):
            if other != view:
                for t, s in zip(teacher[view], student[other], strict=True):
                    wanted = softmax([(a - c) / sharp for a, c in zip(t, centre, strict=True)])
                    losses.append(cross_entropy(wanted, softmax([a / temperature for a in s])))
    return mean(losses)


Numbers = dict[str, list[list[float]]]


def _views(out: dict[str, Tensor], name: str) -> list[list[list[float]]]:
    """Rows of images with one entry a view, as lists by view."""
    return list(out[name].transpose(0, 1).tolist()) if name in out else []


def _of_vicregl(out: dict[str, Tensor], method: Method, progress: Progress) -> float:
    maps = [*_views(out, "maps"), *_views(out, "small_maps")]
    places = [*_views(out, "maps_places"), *_views(out, "small_maps_places")]
    return vicregl(_views(out, "wholes"), maps, places)  # type: ignore[arg-type]


def _of_swav(out: dict[str, Tensor], method: Method, progress: Progress) -> float:
    queue, weight = method.get_buffer("queue"), method.get_parameter("prototypes.weight")
    is_full = int(method.get_buffer("queued")) >= queue.shape[1]
    queued = (queue @ weight.T).tolist() if progress.done >= 0.05 and is_full else []
    return swav(_views(out, "scores"), queued)


def _of_dino(out: dict[str, Tensor], method: Method, progress: Progress) -> float:
    sharp = 0.04 + 0.03 * min(progress.epoch / 2, 1)
    return dino(_views(out, "student"), _views(out, "teacher"), method.get_buffer("centre").tolist(), sharp)


def _of_rows(loss: Callable[..., float], *names: str) -> Callable[[dict[str, Tensor], Method, Progress], float]:
    return lambda out, method, progress: loss(*(out[name].tolist() for name in names))


# By method: its loss, of what `project` gave, with the options of tests/methods/narrow.py.
REFERENCES: dict[str, Callable[[dict[str, Tensor], Method, Progress], float]] = {
    "simclr": _of_rows(simclr, "first", "second"),
    "simsiam": _of_rows(simsiam, "first_prediction", "first", "second_prediction", "second"),
    "moco-v2": lambda out, method, progress: moco(
        out["query"].tolist(), out["key"].tolist(), method.get_buffer("queue").tolist()
    ),
    "byol": _of_rows(byol, "first_prediction", "second_target", "second_prediction", "first_target"),
    "barlow-twins": _of_rows(barlow_twins, "first", "second"),
    "vicreg": _of_rows(vicreg, "first", "second"),
    "vicregl": _of_vicregl,
    "swav": _of_swav,
    "dino": _of_dino,
}
