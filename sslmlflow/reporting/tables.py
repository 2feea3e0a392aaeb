"""The milestones of trainings as tables."""

from collections.abc import Sequence

from sslmlflow.metrics.catalogue import CATALOGUE
from sslmlflow.reporting.history import History
from sslmlflow.texts import as_csv, in_markdown


def milestones_table(history: History, keys: Sequence[str], chosen: int | None, markdown: bool = False) -> str:
    """One row a milestone, for a terminal or in Markdown; a star marks the one chosen without labels."""
    rows = [["epoch", *(CATALOGUE[key].name for key in keys)]]
    for epoch in history.epochs:
        star = " *" if epoch == chosen else ""
        rows.append([f"{epoch}{star}", *(_cell(key, history.values[key].get(epoch)) for key in keys)])
    if markdown:
        return markdown_table(rows)
    return plain_table(rows)


def plain_table(rows: Sequence[Sequence[str]]) -> str:
    """A table for a terminal; the first row is its head."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def markdown_table(rows: Sequence[Sequence[str]], words: int = 0) -> str:
    """A table whose first row is its head; the first columns, of words, stand to the left, numbers to the right."""
    ruler = ["---" if place < words else "---:" for place in range(len(rows[0]))]
    cells = [[in_markdown(cell) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in [cells[0], ruler, *cells[1:]])


def milestones_csv(histories: Sequence[History]) -> str:
    """Every value of every milestone at full precision, one line each."""
    rows = [
        [history.name, history.run_id, epoch, key, value, way.dataset or "", way.digest or ""]
        for history in histories
        for key, way in sorted(history.ways.items())
        for epoch, value in way.values.items()
    ]
    return as_csv([["run", "run_id", "epoch", "metric", "value", "dataset", "digest"], *rows])


def _cell(key: str, value: float | None) -> str:
    return "–" if value is None else CATALOGUE[key].formatted(value)
