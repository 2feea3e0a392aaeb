"""What a run came to: its milestones in a table, the one chosen without labels, and what the choice lost."""

from collections.abc import Sequence
from dataclasses import dataclass

from sslmlflow.figures.progress import progress_figure
from sslmlflow.jobs.labelled import KNN, PROBE, STANDARDISED
from sslmlflow.tracking.milestones import epoch_of, milestones_of_run
from sslmlflow.tracking.run import TrackedRun
from sslmlflow.tracking.values import values_of

CRITERION, RESOLUTION = "label_free/crr_adjusted", "label_free/crr_adjusted_resolution"
COLUMNS = {
    CRITERION: "adjusted CRR",
    PROBE: "linear probe",
    STANDARDISED: "standardised probe",
    KNN: "5-NN",
}


@dataclass(frozen=True)
class Row:
    """A milestone and its metrics; what is undefined or not measured is missing."""

    epoch: int
    values: dict[str, float]


def report(tracked: TrackedRun) -> None:
    """Print the table, make it the run's description, and log it as a figure."""
    rows = _rows(tracked)
    chosen = choose(rows)
    columns = [key for key in COLUMNS if any(key in row.values for row in rows)]
    verdict = _verdict(rows, chosen)
    print("\n" + _table(rows, columns, chosen, plain=True) + "\n\n" + verdict)
    tracked.describe(_table(rows, columns, chosen, plain=False) + "\n\n" + verdict)
    figure = progress_figure(
        [row.epoch for row in rows],
        (COLUMNS[CRITERION], [row.values.get(CRITERION) for row in rows]),
        {COLUMNS[key]: [row.values.get(key) for row in rows] for key in columns if key.startswith("labelled/")},
        chosen.epoch if chosen else None,
    )
    tracked.log_figure(figure, "figures/progress.png")


def choose(rows: Sequence[Row]) -> Row | None:
    """The milestone with the highest shuffle-adjusted coding rate reduction; labels play no part."""
    defined = [row for row in rows if CRITERION in row.values]
    return max(defined, key=lambda row: row.values[CRITERION], default=None)


def _rows(tracked: TrackedRun) -> list[Row]:
    milestones = milestones_of_run(tracked.client, tracked.run_id)
    values = values_of(tracked.client, milestones)
    epochs = [epoch_of(model) for model in milestones]
    return [Row(epoch, {key: of[epoch] for key, of in values.items() if epoch in of}) for epoch in epochs]


def _verdict(rows: Sequence[Row], chosen: Row | None) -> str:
    if chosen is None:
        return "No milestone can be chosen without labels: the criterion is undefined for all of them (see their tags)."
    text = f"Chosen without labels: epoch {chosen.epoch}, the highest shuffle-adjusted coding rate reduction (CRR)."
    resolution = chosen.values.get(RESOLUTION, 0.0)
    if chosen.values[CRITERION] <= resolution:
        text += f" But its value is within its resolution of {resolution:.3f}: there is no signal to choose by yet."
    close = [
        str(row.epoch)
        for row in rows
        if row is not chosen and chosen.values[CRITERION] - row.values.get(CRITERION, float("-inf")) < resolution
    ]
    if close:
        text += f" Within its resolution of {resolution:.3f} lie also: epoch {', '.join(close)}."
    if STANDARDISED in chosen.values:
        best = max(rows, key=lambda row: row.values.get(STANDARDISED, 0.0))
        lost = 100 * (best.values[STANDARDISED] - chosen.values[STANDARDISED])
        text += f" By the standardised probe the best is epoch {best.epoch}: the choice lost {lost:.1f} points."
    return text


def _table(rows: Sequence[Row], columns: Sequence[str], chosen: Row | None, plain: bool) -> str:
    """The table for a terminal, or in Markdown."""
    head = ["epoch", *(COLUMNS[key] for key in columns)]
    body = [
        [f"{row.epoch}{' *' if row is chosen else ''}", *(_cell(key, row.values.get(key)) for key in columns)]
        for row in rows
    ]
    if not plain:
        lines = [head, ["---:"] * len(head), *body]
        return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    widths = [max(len(cells[i]) for cells in [head, *body]) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True)) for cells in [head, *body]
    )


def _cell(key: str, value: float | None) -> str:
    if value is None:
        return "undefined"
    return f"{value:.3f}" if key == CRITERION else f"{100 * value:.1f} %"
