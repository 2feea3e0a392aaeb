"""How much better an encoder is on images that it trains on than on as many others: what it has memorised."""

from dataclasses import dataclass

from torch import Tensor

from sslmlflow.evaluation.fixed_views import batched_loss
from sslmlflow.methods import Method
from sslmlflow.metrics.catalogue import GAP_CRR, GAP_LOSS, GAP_RETRIEVAL, SEEN_CRR, SEEN_RETRIEVAL
from sslmlflow.metrics.failures import FAILURES, why
from sslmlflow.metrics.results import Results
from sslmlflow.metrics.unlabelled.adjusted_halves import adjusted_halves
from sslmlflow.metrics.unlabelled.coding_rate import directions
from sslmlflow.metrics.unlabelled.halves import Halves, gap
from sslmlflow.metrics.unlabelled.layer import layer_metrics

CRR, RETRIEVAL, LOSS, HALVES = "crr_adjusted", "retrieval", "held_out_loss", "halves"


@dataclass(frozen=True)
class Side:
    """What n images are measured to have, and the halves of the adjusted coding rate reduction."""

    results: Results
    halves: Halves | None


def side(
    method: Method,
    last: Tensor,
    projections: dict[str, Tensor],
    eps: float,
    seed: int,
    halves: Halves | None = None,
) -> Side:
    """Measure embeddings (2, n, d) of the last layer and projections (n, ...) of two views of n images.

    `halves` spares measuring these again.
    """
    results = layer_metrics(last, eps, (CRR, RETRIEVAL))
    if CRR in results.values and halves is None:
        try:
            halves = adjusted_halves(directions(last), eps)
        except FAILURES as error:
            results.undefined[HALVES] = why(error)
    if RETRIEVAL in results.undefined:  # a collapsed encoder has no loss that could look good
        results.undefined[LOSS] = results.undefined[RETRIEVAL]
    else:
        results.add(LOSS, lambda: batched_loss(method, projections, seed))
    return Side(results, halves)


def gaps(seen: Side, unseen: Side) -> Results:
    """By how much the n images of `seen`, which are trained on, do better than the n of `unseen`.

    Adjusted coding rate reduction (nats, with the 95 % interval for other images of both kinds) and retrieval are
    higher by `gap_crr_adjusted` and `gap_retrieval`, the method's own loss is lower by `gap_held_out_loss`: 0 but for
    chance where images were not trained on. `train_crr_adjusted` and `train_retrieval` are the values of `seen`.
    Source: this project's.
    """
    found, ours, theirs = Results(), seen.results, unseen.results
    for key, name, sign in ((GAP_CRR, CRR, 1), (GAP_RETRIEVAL, RETRIEVAL, 1), (GAP_LOSS, LOSS, -1)):
        if name in ours.values and name in theirs.values:
            found.values[key] = sign * (ours.values[name] - theirs.values[name])
        else:
            found.undefined[key] = ours.undefined.get(name) or theirs.undefined[name]
    for key, name in ((SEEN_CRR, CRR), (SEEN_RETRIEVAL, RETRIEVAL)):
        if name in ours.values:
            found.values[key] = ours.values[name]
    ends = f"{GAP_CRR}_low", f"{GAP_CRR}_high"
    if seen.halves and unseen.halves:
        found.values.update(zip(ends, gap(seen.halves, unseen.halves)[1:], strict=True))
    elif GAP_CRR in found.values:
        found.fail(ends, ours.undefined.get(HALVES) or theirs.undefined[HALVES])
    return found
