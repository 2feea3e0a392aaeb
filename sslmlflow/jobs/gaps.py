"""How much better an encoder is on images that it trains on than on as many others: what it has memorised."""

from dataclasses import dataclass

from torch import Tensor

from sslmlflow.jobs.watched import batched_loss
from sslmlflow.measures import GAP_CRR, GAP_LOSS, GAP_RETRIEVAL
from sslmlflow.methods import Method
from sslmlflow.metrics.failures import FAILURES, why
from sslmlflow.metrics.unlabelled.bootstrap import adjusted_halves
from sslmlflow.metrics.unlabelled.coding_rate import directions
from sslmlflow.metrics.unlabelled.halves import gap
from sslmlflow.metrics.unlabelled.milestone import Scores, layer_metrics

MEASURED = "collapsed", "crr_adjusted", "retrieval"


@dataclass(frozen=True)
class Side:
    """What a method makes of n images: embeddings (2, n, d) of the last layer and projections (n, ...) of two views."""

    last: Tensor
    projections: dict[str, Tensor]


def gaps(method: Method, seen: Side, unseen: Side, eps: float, seed: int) -> Scores:
    """By how much the n images of `seen`, which are trained on, do better than the n of `unseen`.

    Adjusted coding rate reduction (nats, with the 95 % interval for other images of both kinds) and retrieval are
    higher by `gap_crr_adjusted` and `gap_retrieval`, the method's own loss is lower by `gap_held_out_loss`: 0 but for
    chance where images were not trained on. Source: this project's.
    """
    values: dict[str, float] = {}
    undefined: dict[str, str] = {}
    ends = f"{GAP_CRR}_low", f"{GAP_CRR}_high"
    of_seen, of_unseen = (layer_metrics(side.last, eps, MEASURED) for side in (seen, unseen))
    for key, name in ((GAP_CRR, "crr_adjusted"), (GAP_RETRIEVAL, "retrieval")):
        if name in of_seen.values and name in of_unseen.values:
            values[key] = of_seen.values[name] - of_unseen.values[name]
        else:
            undefined[key] = of_seen.undefined.get(name) or of_unseen.undefined[name]
    if GAP_CRR in values:
        try:
            of_both = [adjusted_halves(directions(side.last), eps) for side in (seen, unseen)]
            found = gap(of_both[0], of_both[1])
            values |= dict(zip(ends, found[1:], strict=True))
        except FAILURES as error:
            undefined |= dict.fromkeys(ends, why(error))
    try:
        of_seen_loss, of_unseen_loss = (batched_loss(method, side.projections, seed) for side in (seen, unseen))
        values[GAP_LOSS] = of_unseen_loss - of_seen_loss
    except FAILURES as error:
        undefined[GAP_LOSS] = why(error)
    return Scores(values, undefined)
