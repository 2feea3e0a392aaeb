from io import BytesIO

import numpy as np

from sslmlflow.figures.curves import Panel, Series, curves_figure

EPOCHS = [0, 20, 40, 60]
ENTROPY = Panel("entropy, nats", [Series("a", EPOCHS, [1.0, None, 3.0, 2.0]), Series("b", EPOCHS[:2], [2.0, 4.0])])
PROBE = Panel("linear probe", [Series("a", EPOCHS, [0.3, 0.5, None, 0.7]), Series("b", EPOCHS[:2], [0.2, 0.4])])


def points(line):
    return [(x, None if np.isnan(y) else round(float(y), 6)) for x, y in zip(*line.get_data(), strict=True)]


def test_a_panel_draws_each_run_with_its_gaps_in_a_colour_of_its_own():
    figure = curves_figure([ENTROPY])
    (axis,) = figure.axes
    assert axis.get_title() == "entropy, nats"
    assert [points(line) for line in axis.lines] == [
        [(0, 1.0), (20, None), (40, 3.0), (60, 2.0)],
        [(0, 2.0), (20, 4.0)],
    ]
    assert len({line.get_color() for line in axis.lines}) == 2
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]


def test_every_panel_carries_the_probe_in_percent_in_the_colours_of_the_runs():
    figure = curves_figure([ENTROPY] * 5, PROBE)
    lefts, rights = figure.axes[:5], figure.axes[5:]
    assert len(rights) == 5
    for left, right in zip(lefts, rights, strict=True):
        assert [points(line) for line in right.lines] == [
            [(0, 30.0), (20, 50.0), (40, None), (60, 70.0)],
            [(0, 20.0), (20, 40.0)],
        ]
        assert [line.get_color() for line in right.lines] == [line.get_color() for line in left.lines]
        assert right.get_ylim() == rights[0].get_ylim()
    assert {right.get_ylabel() for right in rights} == {"", "linear probe, %"}


def test_the_probe_of_a_single_run_differs_from_the_metric_in_colour():
    alone = Panel("m", [Series("a", EPOCHS, [1, 2, 3, 4])]), Panel("kNN", [Series("a", EPOCHS, [0.1, 0.2, 0.3, 0.4])])
    left, right = curves_figure([alone[0]], alone[1]).axes
    assert left.lines[0].get_color() != right.lines[0].get_color()


def test_a_run_has_one_colour_in_all_panels():
    only_b = Panel("other", [Series("b", EPOCHS, [1, 2, 3, 4])])
    both, one = curves_figure([ENTROPY, only_b]).axes
    assert one.lines[0].get_color() == both.lines[1].get_color()


def test_bands_and_outlying_points_lie_where_they_are_said_to():
    series = Series(
        "a", EPOCHS, [1, 2, 3, 4], low=[0, 1, 2, 3], high=[2, 3, 4, 9], outlying=[False, True, False, False]
    )
    figure = curves_figure([Panel("m", [series])])
    (axis,) = figure.axes
    assert points(axis.lines[1]) == [(20, 2.0)]
    (band,) = axis.collections
    corners = {tuple(corner) for corner in band.get_paths()[0].vertices.tolist()}
    assert {(0, 0), (0, 2), (60, 3), (60, 9)} <= corners
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "interval", "outlying"]


def test_a_dollar_in_the_name_of_a_run_is_a_dollar():
    figure = curves_figure([Panel("m", [Series(r"tau $\tau_$ try", EPOCHS, [1, 2, 3, 4])])])
    figure.savefig(BytesIO())
    assert figure.legends[0].get_texts()[0].get_text() == r"tau $\tau_$ try"


def test_a_legend_of_long_names_stays_inside_the_figure():
    runs = [f"simclr resnet18 on digit-scenes {number}23456" for number in range(3)]
    series = [Series(run, EPOCHS, [1, 2, 3, 4], low=[0, 1, 2, 3], high=[2, 3, 4, 9]) for run in runs]
    for panels in (1, 3, 6):
        figure = curves_figure([Panel("m", series)] * panels, PROBE)
        figure.draw_without_rendering()
        width, height = figure.get_size_inches() * figure.dpi
        box = figure.legends[0].get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= width
        assert box.y1 <= height
