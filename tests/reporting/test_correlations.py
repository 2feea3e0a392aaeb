"""The table of correlations: what is compared, and names that would break it."""

import csv

import pytest
from matplotlib.text import Text
from mlflow.entities import LoggedModel
from scipy import stats

from sslmlflow.metrics.catalogue import (
    CRR,
    CRR_ADJUSTED,
    EARLY_CRR,
    EARLY_STANDARDISED,
    ENTROPY,
    PROBE,
    ROBUST_ENTROPY,
    STANDARDISED,
)
from sslmlflow.metrics.correlation import partial_correlation
from sslmlflow.reporting.correlations import as_markdown, correlations, correlations_csv
from sslmlflow.reporting.figures import _heatmap
from sslmlflow.reporting.history import History
from sslmlflow.reporting.overfitting import overfitting_table
from sslmlflow.tracking.values import Way
from tests.reporting.histories import made_history


def history(name: str) -> History:
    """Three milestones; the entropy was measured on another data set than the probe."""
    epochs = (0, 10, 20)
    models = [LoggedModel("0", f"m-{e}", f"epoch {e}", "", 0, 0, params={"epoch": str(e)}) for e in epochs]
    values = dict(zip(epochs, (0.1, 0.2, 0.4), strict=True))
    ways = {CRR_ADJUSTED: Way(values=values), ENTROPY: Way("stl10", "a", values), PROBE: Way("cifar10", "b", values)}
    return History("run1", name, "cifar10", models, ways)


def test_only_what_was_measured_on_one_data_set_is_compared() -> None:
    assert {cell.metric for cell in correlations([history("simclr")], PROBE)} == {CRR_ADJUSTED}


def test_a_bar_in_the_name_of_a_run_does_not_make_a_column() -> None:
    lines = as_markdown(correlations([history("a | b")], PROBE)).splitlines()
    bars = [line.replace(r"\|", "").count("|") for line in lines if line.startswith("|")]
    assert bars == [4] * 6 + [4] * 3 + [3] * 5, "r with its baselines, r given the epoch, what a choice loses"


def test_every_coefficient_is_told_with_its_correction_and_what_a_choice_loses() -> None:
    columns = {
        CRR: [9.0, 2.0, 3.0, 4.0, 8.0],
        CRR_ADJUSTED: [1.0, 2.0, 4.0, 3.0, 5.0],
        ENTROPY: [5.0, 3.0, 1.0, 3.5, 2.0],
        PROBE: [0.3, 0.5, 0.6, 0.7, 0.65],
    }
    cells = correlations([made_history(columns)], PROBE)
    rows = list(csv.DictReader(correlations_csv([cells]).splitlines()))
    assert len(rows) == 6
    for row in rows:
        start = 0 if row["init"] == "with init" else 1
        x, y = columns[row["metric"]][start:], columns[PROBE][start:]
        for names, reference in ((("r", "p"), stats.pearsonr), (("rho", "rho_p"), stats.spearmanr)):
            expected = reference(x, y)
            assert [float(row[name]) for name in names] == pytest.approx([expected.statistic, expected.pvalue])
        expected = stats.kendalltau(x, y)
        assert [float(row[name]) for name in ("tau", "tau_p")] == pytest.approx([expected.statistic, expected.pvalue])
        assert -1 <= float(row["low"]) <= float(row["r"]) <= float(row["high"]) <= 1
    corrected = stats.false_discovery_control([float(row["p"]) for row in rows])
    assert [float(row["p_corrected"]) for row in rows] == pytest.approx(corrected)
    lost = {row["metric"]: float(row["regret"]) for row in rows if row["init"] == "with init"}
    assert lost == pytest.approx({CRR: 0.4, CRR_ADJUSTED: 0.05, ENTROPY: 0.1})
    table = as_markdown(cells)
    assert "p < 0.05" not in table, "nothing has a star"
    assert "| milestones | 5 | 4 |" in table
    assert "| highest pair CRR | 40.0 |" in table
    assert "| lowest entropy H(Z3) | 10.0 |" in table
    assert "| the last milestone (baseline) | 5.0 |" in table
    assert "| a random milestone, on average | 15.0 |" in table
    epochs = [0, 10, 20, 30, 40]
    by_epoch = [stats.pearsonr(epochs[start:], columns[PROBE][start:]).statistic for start in (0, 1)]
    assert f"| epoch number (baseline) | {by_epoch[0]:.2f} | {by_epoch[1]:.2f} |" in table
    for row in rows:
        start = 0 if row["init"] == "with init" else 1
        given = partial_correlation(columns[row["metric"]][start:], columns[PROBE][start:], epochs[start:])
        assert (float(row["r_given_epoch"]), float(row["p_given_epoch"])) == pytest.approx(given[:2])


def test_a_star_is_for_what_is_significant_among_all_that_was_looked_at() -> None:
    """Four metrics, of which one goes with the probe at p = 0.04 by itself, the others not at all."""
    probe = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    flat = [1.0, 2.0, 1.0, 2.0, 1.0, 2.0]
    columns = {CRR: [1.0, 4.0, 2.0, 3.0, 5.0, 6.0], **dict.fromkeys((CRR_ADJUSTED, ENTROPY, ROBUST_ENTROPY), flat)}
    cells = correlations([made_history({**columns, PROBE: probe})], PROBE)
    with_init = [cell for cell in cells if cell.with_init]
    alone = next(cell for cell in with_init if cell.metric == CRR)
    assert stats.pearsonr(columns[CRR], probe).pvalue < 0.05
    assert "| pair CRR | 0.83* |" in as_markdown([alone])
    assert "| pair CRR | 0.83 |" in as_markdown(with_init)
    assert "\\* p < 0.05, corrected for all r of the table" in as_markdown([alone])
    for cells, told in (([alone], "0.83*"), (with_init, "0.83")):
        (axis,) = (axis for axis in _heatmap(cells).axes if axis.texts)
        assert told in [text.get_text() for text in axis.texts]


def test_the_heat_map_has_room_for_its_title() -> None:
    history = made_history({CRR: [1.0, 4.0, 2.0], STANDARDISED: [0.1, 0.2, 0.3]})
    figure = _heatmap(correlations([history], STANDARDISED))
    figure.draw_without_rendering()
    (title,) = (text for text in figure.findobj(Text) if text.get_text() == figure.get_suptitle())
    assert title.get_window_extent().x1 < figure.bbox.x1


def test_every_table_is_corrected_for_its_own_cells() -> None:
    columns = {CRR: [1.0, 4.0, 2.0, 3.0, 5.0, 6.0], PROBE: [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]}
    history = made_history({**columns, CRR_ADJUSTED: [2.0, 1.0, 2.0, 1.0, 2.0, 1.0], STANDARDISED: columns[PROBE]})
    tables = [correlations([history], probe) for probe in (PROBE, STANDARDISED)]
    alone = list(csv.DictReader(correlations_csv(tables[:1]).splitlines()))
    both = list(csv.DictReader(correlations_csv(tables).splitlines()))
    assert [row["p_corrected"] for row in both] == 2 * [row["p_corrected"] for row in alone]


def test_where_r_is_undefined_there_is_a_dash() -> None:
    history = made_history({CRR: [1.0, 1.0, 1.0], PROBE: [0.1, 0.2, 0.3]})
    assert "| pair CRR | – | – |" in as_markdown(correlations([history], PROBE))


def test_the_table_of_the_overfitting_watch_has_corrected_stars_too() -> None:
    accuracy = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    last = {CRR: [1.0, 4.0, 2.0, 3.0, 5.0, 6.0], STANDARDISED: accuracy}
    early = {EARLY_CRR: [1.0, 2.0, 1.0, 2.0, 1.0, 2.0], EARLY_STANDARDISED: accuracy}
    assert "| last | 0.83* | 1.00 | – | 6 |" in overfitting_table([made_history(last)])
    both = overfitting_table([made_history({**last, **early})])
    assert "| last | 0.83 | 1.00 | – | 6 |" in both
    assert "\\* p < 0.05, corrected for all r of the table" in both
