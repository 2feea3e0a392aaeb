"""Models as points of a metric and an accuracy."""

from sslmlflow.figures.models import Point, models_figure

FAMILIES = {
    "resnet": [Point("resnet18", 4.0, 0.8), Point("resnet50", 3.5, 0.85)],
    "efficientnet": [Point("efficientnet_b0", 3.0, 0.9)],
}


def test_every_model_is_a_point_with_its_name_in_the_colour_of_its_architecture() -> None:
    figure = models_figure(FAMILIES, "entropy", "linear probe")
    (axis,) = figure.axes
    drawn = [list(zip(*line.get_data(), strict=True)) for line in axis.lines]
    assert drawn == [[(4.0, 80.0), (3.5, 85.0)], [(3.0, 90.0)]]
    assert len({line.get_color() for line in axis.lines}) == 2
    assert [text.get_text() for text in axis.texts] == ["18", "50", "b0"]
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("entropy", "linear probe, %")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(FAMILIES)
