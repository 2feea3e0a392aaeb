"""Many trainings as one table: what is chosen in each, and how reliable the choice is."""

from collections.abc import Sequence
from dataclasses import dataclass

from sslmlflow.metrics.catalogue import ACCURACIES, CATALOGUE
from sslmlflow.reporting.history import History
from sslmlflow.reporting.milestone_choice import baselines, choose_milestone, points_lost
from sslmlflow.reporting.tables import markdown_table, plain_table
from sslmlflow.texts import as_csv

MANY = 20  # trainings, above which figures and tables of each would be too many to look at
NOTE = (
    f"Each of more than {MANY} trainings has one row here. `--runs=ID,ID,...` with at most {MANY} gives the table, the "
    "figures and the correlations of each."
)


@dataclass(frozen=True)
class Overview:
    """The same rows for a terminal, as Markdown and as CSV."""

    plain: str
    markdown: str
    csv: str


def overview(histories: Sequence[History], criterion: str) -> Overview:
    """One row per training: its chosen milestone, that one's metrics, and what the choice lost where labels tell.

    `tied` counts the milestones that the interval does not separate from the chosen one; empty without an interval.
    Beside the points that the choice lost stand those that the last milestone and, on average, a random one lose.
    """
    keys = [key for key in (criterion, *ACCURACIES) if any(history.has(key) for history in histories)]
    head = [
        "training",
        "run",
        "milestones",
        "chosen epoch",
        *(CATALOGUE[key].name for key in keys),
        "tied",
        "points lost",
        "by the last",
        "by a random one",
    ]
    table: list[list[object]] = [
        ["run", "run_id", "milestones", "chosen_epoch", *keys, "tied", "points_lost", "lost_by_last", "lost_at_random"]
    ]
    rows = [head]
    for history in histories:
        choice = choose_milestone(history, criterion)
        values = [history.values.get(key, {}).get(choice.chosen) for key in keys]  # type: ignore[arg-type]
        tied = len(choice.tied) if choice.chosen is not None and history.has(f"{criterion}_low") else None
        lost = points_lost(history, choice), *baselines(history)
        numbers = [choice.chosen, *values, tied, *lost]
        table.append([history.name, history.run_id, len(history.models), *("" if n is None else n for n in numbers)])
        formatted = [None if v is None else CATALOGUE[key].formatted(v) for key, v in zip(keys, values, strict=True)]
        cells = [choice.chosen, *formatted, tied, *(None if points is None else f"{points:.1f}" for points in lost)]
        rows.append(
            [history.name, history.run_id, str(len(history.models)), *("–" if c is None else str(c) for c in cells)]
        )
    return Overview(plain_table(rows), markdown_table(rows, words=2), as_csv(table))
