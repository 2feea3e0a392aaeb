import numpy as np
import pytest
from matplotlib.colors import to_hex

from sslmlflow.figures.scatter import scatter_figure

RNG = np.random.default_rng(3)
POINTS = RNG.normal(size=(60, 3)) * [1, 3, 2] + [5, -2, 0]


def drawn(axis):
    """The points in a panel and their colours, sorted by point."""
    offsets, colours = [], []
    for dots in axis.collections:
        offsets += [tuple(xy) for xy in dots.get_offsets().tolist()]
        faces = dots.get_facecolors()
        colours += [to_hex(face) for face in np.broadcast_to(faces, (len(dots.get_offsets()), 4))]
    return sorted(zip(offsets, colours, strict=True))


def test_each_panel_shows_all_points_along_another_axis():
    axes = scatter_figure(POINTS, None, "epoch 0").axes
    for axis, pair in zip(axes, ([0, 1], [0, 2], [1, 2]), strict=True):
        np.testing.assert_array_equal([xy for xy, _ in drawn(axis)], sorted(POINTS[:, pair].tolist()))
        assert (axis.get_xlabel(), axis.get_ylabel()) == tuple(f"UMAP {i + 1}" for i in pair)


def test_limits_are_square_hold_all_points_and_hold_still_when_the_points_move_a_little():
    axes = scatter_figure(POINTS, None, "").axes
    spans = [high - low for axis in axes for low, high in (axis.get_xlim(), axis.get_ylim())]
    assert len(set(spans)) == 1
    for axis, (x, y) in zip(axes, ((0, 1), (0, 2), (1, 2)), strict=True):
        for i, (low, high) in ((x, axis.get_xlim()), (y, axis.get_ylim())):
            assert low < POINTS[:, i].min()
            assert POINTS[:, i].max() < high
    moved = scatter_figure(POINTS + 0.001, None, "").axes
    assert [axis.get_xlim() for axis in moved] == [axis.get_xlim() for axis in axes]


def test_coinciding_points_still_have_a_frame():
    low, high = scatter_figure(np.ones((5, 3)), None, "").axes[0].get_xlim()
    assert low < 1 < high


def test_a_group_keeps_its_colour_when_others_are_missing():
    groups = np.arange(60) % 12
    colour = dict(drawn(scatter_figure(POINTS, groups, "").axes[0]))
    alone = groups == 7
    for xy, seen in drawn(scatter_figure(POINTS[alone], groups[alone], "").axes[0]):
        assert seen == colour[xy]


def test_the_legend_names_the_groups_and_tells_unlabelled_points_apart():
    groups = np.array([-1, 0, 3] * 20)
    figure = scatter_figure(POINTS, groups, "", group_name="class")
    (legend,) = figure.legends
    assert legend.get_title().get_text() == "class"
    assert [text.get_text() for text in legend.get_texts()] == ["none", "0", "3"]
    colours = dict(drawn(figure.axes[0]))
    assert len({colours[tuple(POINTS[i, :2].tolist())] for i in range(3)}) == 3


def test_too_many_groups_for_the_colours_are_counted_instead_of_listed():
    figure = scatter_figure(POINTS, np.arange(60), "")
    assert not figure.legends
    assert any("60 in all; colours repeat" in text.get_text() for text in figure.texts)


def test_many_points_are_thinned_alike_in_every_figure_and_the_figure_says_so():
    first, second = (scatter_figure(POINTS, None, "", seen=20) for _ in range(2))
    assert len(drawn(first.axes[0])) == 20
    assert drawn(first.axes[0]) == drawn(second.axes[0])
    assert any(text.get_text() == "20 of 60 images" for text in first.texts)


@pytest.mark.parametrize("groups", [None, np.arange(60) % 3, np.arange(60)])
def test_size_and_places_of_the_panels_never_change(groups):
    figure, other = scatter_figure(POINTS, groups, "short"), scatter_figure(1000 * POINTS[:5], None, "a longer title")
    assert tuple(figure.get_size_inches()) == tuple(other.get_size_inches())
    for one, two in zip(figure.axes, other.axes, strict=True):
        np.testing.assert_array_equal(one.get_position().bounds, two.get_position().bounds)
