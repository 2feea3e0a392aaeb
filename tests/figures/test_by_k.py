import numpy as np

from sslmlflow.figures.by_k import by_k_figure

SCORES = {"silhouette": [0.1, None, 0.3], "agreement": [0.5, 0.7, 0.6]}


def test_each_score_has_a_panel_with_its_values_and_gaps():
    silhouette, agreement = by_k_figure([2, 10, 50], SCORES, None).axes
    assert (silhouette.get_ylabel(), agreement.get_ylabel()) == ("silhouette", "agreement")
    np.testing.assert_array_equal(silhouette.lines[0].get_xdata(), [2, 10, 50])
    np.testing.assert_array_equal(silhouette.lines[0].get_ydata(), [0.1, np.nan, 0.3])
    np.testing.assert_array_equal(agreement.lines[0].get_ydata(), [0.5, 0.7, 0.6])
    assert [label.get_text() for label in agreement.get_xticklabels()] == ["2", "10", "50"]
    assert len(silhouette.lines) == 1


def test_the_chosen_k_is_marked_in_every_panel():
    axes = by_k_figure([2, 10, 50], SCORES, 10).axes
    assert [list(axis.lines[1].get_xdata()) for axis in axes] == [[10, 10], [10, 10]]
    assert "10" in axes[0].get_title()
