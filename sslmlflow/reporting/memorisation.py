"""What the milestones of a training say of memorisation, in words."""

from sslmlflow.metrics.alarms import EVIDENCE, memorising
from sslmlflow.metrics.catalogue import GAP_CRR
from sslmlflow.reporting.history import History

FROM_THE_FIRST = (
    "The first milestone shows it already: the training images differ from the held-out ones, or the encoder that it "
    "began with had seen them."
)


def memorised(history: History) -> str:
    """Which milestones of a training show that it memorises, and the evidence of the last of these.

    Where none does, the last milestone's gap; nothing for those of earlier builds, which measured none.
    """
    found = {}
    for epoch in history.epochs:
        at = {key: history.values[key][epoch] for key in EVIDENCE if epoch in history.values.get(key, {})}
        if alarm := memorising(at):
            found[epoch] = alarm[0]
    if not found:
        return _no_sign(history)
    words = f"Memorisation at epoch {', '.join(map(str, found))}; at epoch {max(found)} {found[max(found)]}."
    return f"{words} {FROM_THE_FIRST}" if history.epochs[0] in found else words


def _no_sign(history: History) -> str:
    gap, low, high = (history.column(key)[-1] for key in (GAP_CRR, f"{GAP_CRR}_low", f"{GAP_CRR}_high"))
    if gap is None or low is None or high is None:
        return ""
    return (
        f"No milestone shows memorisation: the gap of adjusted CRR to training images is {gap:.2f} nats at the last "
        f"one (95 % interval {low:.2f} to {high:.2f})."
    )
