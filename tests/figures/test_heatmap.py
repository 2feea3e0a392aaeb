import numpy as np

from sslmlflow.figures.heatmap import correlation_figure

R = np.array([[0.917, -0.25, np.nan], [-1.0, 0.0, 0.4]])
SIGNIFICANT = np.array([[True, False, False], [True, False, False]])


def figure():
    return correlation_figure(
        ["CRR", "entropy"], ["run a", "run b", "run a, without initialisation"], R, SIGNIFICANT, "r"
    )


def test_each_cell_says_its_value_and_whether_it_is_significant():
    (axis,) = figure().axes
    cells = {text.get_position(): (text.get_text(), text.get_fontweight()) for text in axis.texts}
    assert cells == {
        (0, 0): ("0.92*", "bold"),
        (1, 0): ("−0.25", "normal"),
        (2, 0): ("–", "normal"),
        (0, 1): ("−1.00*", "bold"),
        (1, 1): ("0.00", "normal"),
        (2, 1): ("0.40", "normal"),
    }


def test_rows_and_columns_are_named():
    (axis,) = figure().axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["CRR", "entropy"]
    assert [label.get_text() for label in axis.get_xticklabels()][2] == "run a, without initialisation"


def test_colours_span_minus_one_to_one_whatever_the_values():
    (axis,) = correlation_figure(["a"], ["b"], np.array([[0.1]]), np.array([[False]]), "r").axes
    assert axis.images[0].get_clim() == (-1, 1)


def test_undefined_cells_are_hatched_and_no_others():
    (axis,) = figure().axes
    (cell,) = axis.patches
    assert cell.get_hatch()
    assert (*cell.get_xy(), cell.get_width(), cell.get_height()) == (1.5, -0.5, 1, 1)
