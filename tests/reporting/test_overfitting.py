"""The overfitting watch on courses whose peaks, shares and correlations were found by hand."""

from sslmlflow.figures.overfitting import Curve
from sslmlflow.metrics.catalogue import CRR, EARLY_CRR, EARLY_STANDARDISED, STANDARDISED
from sslmlflow.reporting.overfitting import overfitting_panels, overfitting_table
from tests.reporting.histories import made_history

EPOCHS = [0, 10, 20, 30]
FALLING = {
    EARLY_STANDARDISED: [0.1, 0.2, 0.4, 0.4],
    STANDARDISED: [0.125, 0.25, 0.5, 0.375],
    EARLY_CRR: [5.0, 5.0, 5.0, 5.0],
    CRR: [2.0, 4.0, None, 8.0],
}


def test_curves_are_shares_of_the_earliest_peak_with_gaps() -> None:
    accuracy, reduction = overfitting_panels(made_history(FALLING)).values()
    assert accuracy == [Curve("early", EPOCHS, [0.25, 0.5, 1, 1], 20), Curve("last", EPOCHS, [0.25, 0.5, 1, 0.75], 20)]
    assert reduction == [Curve("early", EPOCHS, [1, 1, 1, 1], 0), Curve("last", EPOCHS, [0.25, 0.5, None, 1], 30)]


def test_a_curve_without_a_value_above_0_is_left_out() -> None:
    columns = {EARLY_STANDARDISED: [0.0, 0.0], EARLY_CRR: [-0.5, -0.1], CRR: [-1.0, 2.0]}
    panels = overfitting_panels(made_history(columns))
    assert list(panels.values()) == [[Curve("last", [0, 10], [-0.5, 1], 10)]]


def test_without_labels_there_are_the_reductions_alone() -> None:
    history = made_history({EARLY_CRR: [1.0, 2.0], CRR: [1.0, 3.0]})
    (title,) = overfitting_panels(history)
    assert "coding rate reduction" in title
    assert overfitting_table([history]) == ""


def test_the_table_gives_r_by_layer_with_n_and_the_range() -> None:
    # Of the last layer, three pairs: deviations (-1, 0, 1) / 8 and (-8, -2, 10) / 3, so r = 18 / sqrt(2 * 168).
    lines = overfitting_table([made_history(FALLING)]).splitlines()
    assert lines[2:4] == [
        "| simclr | early | – | 0.95 | – | 4 | 10.0% to 40.0% |",
        "| simclr | last | 0.98 | 0.80 | – | 3 | 12.5% to 50.0% |",
    ]
    assert lines[-1] == (
        "simclr, last layer: accuracy peaked at epoch 20, 25.0 % below its peak at the end; "
        "coding rate reduction peaked at epoch 30 (the end)."
    )


def test_a_layer_that_collapsed_before_the_end_is_told_by_its_last_value() -> None:
    columns = {STANDARDISED: [0.1, 0.2, 0.4, 0.1], CRR: [1.0, 4.0, 3.0, None]}
    assert "coding rate reduction peaked at epoch 10, 25.0 % below its peak at its last value, epoch 20." in (
        overfitting_table([made_history(columns)])
    )
    columns[CRR] = [1.0, 2.0, None, None]
    assert "coding rate reduction peaked at epoch 10 (its last value)." in overfitting_table([made_history(columns)])


def test_a_reduction_is_not_compared_with_accuracies_on_other_images() -> None:
    table = overfitting_table([made_history(FALLING, elsewhere=[STANDARDISED])])
    assert "| early |" in table
    assert "| last |" not in table
    assert overfitting_table([made_history(FALLING, elsewhere=[EARLY_STANDARDISED, STANDARDISED])]) == ""
