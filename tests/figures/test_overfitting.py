import numpy as np

from sslmlflow.figures.overfitting import Curve, overfitting_figure

EARLY = Curve("early", [0, 10, 20], [0.5, 0.8, 1.0], 20)
LAST = Curve("last", [0, 10, 20], [0.6, 1.0, None], 10)
PANELS = {"accuracy": [EARLY, LAST], "reduction": [LAST]}


def test_each_panel_draws_its_curves_with_gaps_on_one_scale():
    accuracy, reduction = overfitting_figure(PANELS).axes
    assert [accuracy.get_title(), reduction.get_title()] == ["accuracy", "reduction"]
    early, _, last, _ = accuracy.lines
    np.testing.assert_array_equal(early.get_ydata(), [0.5, 0.8, 1.0])
    np.testing.assert_array_equal(last.get_xdata(), [0, 10, 20])
    np.testing.assert_array_equal(last.get_ydata(), [0.6, 1.0, np.nan])
    assert reduction.lines[0].get_color() == last.get_color() != early.get_color()
    assert accuracy.get_ylim() == reduction.get_ylim()


def test_each_peak_is_ringed_in_the_colour_of_its_curve_and_its_epoch_named():
    axis = overfitting_figure(PANELS).axes[0]
    curves, rings = axis.lines[::2], axis.lines[1::2]
    assert [(list(ring.get_xdata()), list(ring.get_ydata())) for ring in rings] == [([20], [1]), ([10], [1])]
    assert [ring.get_color() for ring in rings] == [curve.get_color() for curve in curves]
    names = [text.get_text() for text in axis.get_legend().get_texts()]
    assert names == ["early layer, peak at epoch 20", "last layer, peak at epoch 10"]


def test_peaks_at_one_epoch_are_both_seen():
    first, second = overfitting_figure({"reduction": [LAST, LAST]}).axes[0].lines[1::2]
    assert first.get_markersize() > second.get_markersize() + 2 * second.get_markeredgewidth()
    assert {ring.get_markerfacecolor() for ring in (first, second)} == {"none"}


def test_one_panel_stands_alone():
    (axis,) = overfitting_figure({"reduction": [EARLY]}).axes
    assert axis.get_ylabel() == "share of the peak"
