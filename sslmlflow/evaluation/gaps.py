"""How much better an encoder is on images that it trains on than on as many others: what it has memorised."""

from dataclasses import dataclass

from torch import Tensor

from sslmlflow.evaluation.watched import batched_loss
from sslmlflow.methods import Method
from sslmlflow.metrics.catalogue import GAP_CRR, GAP_LOSS, GAP_RETRIEVAL, SEEN_CRR, SEEN_RETRIEVAL
from sslmlflow.metrics.failures import FAILURES, why
from sslmlflow.metrics.unlabelled.bootstrap import adjusted_halves
from sslmlflow.metrics.unlabelled.coding_rate import directions
from sslmlflow.metrics.unlabelled.halves import Halves, gap
from sslmlflow.metrics.unlabelled.milestone import Scores, layer_metrics

CRR, RETRIEVAL, LOSS, HALVES = "crr_adjusted", "retrieval", "held_out_loss", "halves"


@dataclass(frozen=True)
class Side:
    """What n images are measured to have: values and reasons for none by name, and the halves of the adjusted CRR."""

    values: dict[str, float]
    undefined: dict[str, str]
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
    scores = layer_metrics(last, eps, ("collapsed", CRR, RETRIEVAL))
    values, undefined = dict(scores.values), dict(scores.undefined)
    if CRR in values and halves is None:
        try:
            halves = adjusted_halves(directions(last), eps)
        except FAILURES as error:
            undefined[HALVES] = why(error)
    if RETRIEVAL in undefined:  # a collapsed encoder has no loss that could look good
        undefined[LOSS] = undefined[RETRIEVAL]
        return Side(values, undefined, halves)
    try:
        values[LOSS] = batched_loss(method, projections, seed)
    except FAILURES as error:
        undefined[LOSS] = why(error)
    return Side(values, undefined, halves)


def gaps(seen: Side, unseen: Side) -> Scores:
    """By how much the n images of `seen`, which are trained on, do better than the n of `unseen`.

    Adjusted coding rate reduction (nats, with the 95 % interval for other images of both kinds) and retrieval are
    higher by `gap_crr_adjusted` and `gap_retrieval`, the method's own loss is lower by `gap_held_out_loss`: 0 but for
    chance where images were not trained on. `train_crr_adjusted` and `train_retrieval` are the values of `seen`.
    Source: this project's.
    """
    values: dict[str, float] = {}
    undefined: dict[str, str] = {}
    for key, name, sign in ((GAP_CRR, CRR, 1), (GAP_RETRIEVAL, RETRIEVAL, 1), (GAP_LOSS, LOSS, -1)):
        if name in seen.values and name in unseen.values:
            values[key] = sign * (seen.values[name] - unseen.values[name])
        else:
            undefined[key] = seen.undefined.get(name) or unseen.undefined[name]
    for key, name in ((SEEN_CRR, CRR), (SEEN_RETRIEVAL, RETRIEVAL)):
        if name in seen.values:
            values[key] = seen.values[name]
    ends = f"{GAP_CRR}_low", f"{GAP_CRR}_high"
    if seen.halves and unseen.halves:
        values |= dict(zip(ends, gap(seen.halves, unseen.halves)[1:], strict=True))
    elif GAP_CRR in values:
        undefined |= dict.fromkeys(ends, seen.undefined.get(HALVES) or unseen.undefined[HALVES])
    return Scores(values, undefined)
