"""The overfitting watch: accuracy and coding rate reduction of the early and the last layer, from peak to end.

Source: Qiang et al., "On the Generalization and Causal Explanation in Self-Supervised Learning", section 4 (figures 1
and 2), section 6.6 (figure 6) and appendix B.2 (table 11).
"""

from collections.abc import Sequence

from sslmlflow.figures.overfitting import Curve
from sslmlflow.metrics.catalogue import CATALOGUE, CRR, EARLY_CRR, EARLY_STANDARDISED, STANDARDISED
from sslmlflow.reporting.comparison import STAR
from sslmlflow.reporting.correlations import correlation, significance
from sslmlflow.reporting.history import History
from sslmlflow.reporting.tables import markdown_table
from sslmlflow.texts import in_markdown

ACCURACY = {"early": EARLY_STANDARDISED, "last": STANDARDISED}
REDUCTION = {"early": EARLY_CRR, "last": CRR}


def curve_of(history: History, layer: str, key: str) -> Curve | None:
    """A metric over the milestones as shares of its highest value, of equal ones the earliest.

    None where it has no value above 0, by which alone it can be divided.
    """
    values = history.column(key)
    highest = max((value for value in values if value is not None), default=0.0)
    if highest <= 0:
        return None
    shares = [None if value is None else value / highest for value in values]
    return Curve(layer, history.epochs, shares, history.epochs[values.index(highest)])


def overfitting_panels(history: History) -> dict[str, list[Curve]]:
    """The curves of both layers by the title of their panel; a panel without any is left out."""
    panels = {
        f"accuracy of the {CATALOGUE[STANDARDISED].name}": ACCURACY,
        f"coding rate reduction ({CATALOGUE[CRR].name})": REDUCTION,
    }
    found = {
        title: [curve for layer, key in keys.items() if (curve := curve_of(history, layer, key))]
        for title, keys in panels.items()
    }
    return {title: curves for title, curves in found.items() if curves}


def overfitting_table(histories: Sequence[History]) -> str:
    """Pearson's r of accuracy and coding rate reduction by layer, and how far the last layer has fallen from its peaks.

    Empty where no training has accuracies of its own data set.
    """
    every = [
        (layer, correlation(history, REDUCTION[layer], ACCURACY[layer])) for history in histories for layer in ACCURACY
    ]
    found = [(layer, cell) for layer, cell in every if cell]
    if not found:
        return ""
    rows = []
    for (layer, cell), p in zip(found, significance([cell for _, cell in found]), strict=True):
        r = cell.compared
        rows.append(
            [cell.history.name, layer, r.formatted(p), cell.of_epoch, cell.beyond_epoch, str(r.correlation.n), r.range]
        )
    watched = {cell.history.run_id: cell.history for _, cell in found}.values()
    fallen = [f"{in_markdown(history.name)}, last layer: {_fallen(history)}." for history in watched]
    head = [
        "training",
        "layer",
        f"Pearson's r of {CATALOGUE[CRR].name} and accuracy",
        "of the epoch number (baseline)",
        "given the epoch",
        "n",
        "range of the accuracy",
    ]
    return "\n\n".join([markdown_table([head, *rows], words=2), f"\\{STAR}", *fallen])


def _fallen(history: History) -> str:
    """Where accuracy and coding rate reduction of the last layer peaked, and what they have lost since."""
    names = {"accuracy": STANDARDISED, "coding rate reduction": CRR}
    return "; ".join(f"{name} {_since_peak(curve_of(history, 'last', key))}" for name, key in names.items())


def _since_peak(curve: Curve | None) -> str:
    if curve is None:
        return "has no value above 0"
    known = [(epoch, share) for epoch, share in zip(curve.epochs, curve.shares, strict=True) if share is not None]
    epoch, share = known[-1]
    # A layer that collapses loses its coding rate reduction before the end.
    last = "the end" if epoch == curve.epochs[-1] else "its last value"
    if epoch == curve.peak:
        return f"peaked at epoch {epoch} ({last})"
    where = "at the end" if epoch == curve.epochs[-1] else f"at its last value, epoch {epoch}"
    return f"peaked at epoch {curve.peak}, {100 * (1 - share):.1f} % below its peak {where}"
