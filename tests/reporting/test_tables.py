"""The milestones as tables: what a person reads, and what a program reads back."""

import csv
import io

import pytest
from mlflow.entities import LoggedModel, LoggedModelParameter

from sslmlflow.metrics.catalogue import CRR_ADJUSTED, STANDARDISED
from sslmlflow.reporting.history import History
from sslmlflow.reporting.tables import milestones_csv, milestones_table
from sslmlflow.tracking.values import Way


@pytest.fixture
def history() -> History:
    """Milestones at epochs 0 and 10; the first has no adjusted coding rate reduction."""
    models = [
        LoggedModel("0", f"m-{epoch}", f"epoch {epoch}", "", 0, 0, params=[LoggedModelParameter("epoch", str(epoch))])
        for epoch in (0, 10)
    ]
    ways = {
        CRR_ADJUSTED: Way(values={10: 2.71828}),
        STANDARDISED: Way("cifar10", "abc", {0: 0.1 + 0.2, 10: 0.5}),
    }
    return History("run1", "simclr, first", "cifar10", models, ways)


def test_the_table_marks_the_chosen_one_and_leaves_gaps(history: History) -> None:
    lines = milestones_table(history, [CRR_ADJUSTED, STANDARDISED], chosen=10).splitlines()
    assert [line.split() for line in lines[1:]] == [["0", "–", "30.0", "%"], ["10", "*", "2.718", "50.0", "%"]]
    assert "adjusted CRR" in lines[0]
    assert len({len(line) for line in lines}) == 1, "columns stand under each other"


def test_in_markdown_it_is_a_table(history: History) -> None:
    assert milestones_table(history, [STANDARDISED], chosen=None, markdown=True).splitlines() == [
        "| epoch | standardised probe |",
        "| ---: | ---: |",
        "| 0 | 30.0 % |",
        "| 10 | 50.0 % |",
    ]


def test_the_csv_gives_every_value_back_exactly(history: History) -> None:
    rows = list(csv.DictReader(io.StringIO(milestones_csv([history]))))
    values = {(row["metric"], int(row["epoch"])): float(row["value"]) for row in rows}
    assert values == {(CRR_ADJUSTED, 10): 2.71828, (STANDARDISED, 0): 0.1 + 0.2, (STANDARDISED, 10): 0.5}
    assert {row["run"] for row in rows} == {"simclr, first"}
    assert {(row["dataset"], row["digest"]) for row in rows if row["metric"] == STANDARDISED} == {("cifar10", "abc")}
