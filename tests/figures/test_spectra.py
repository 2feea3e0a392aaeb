import numpy as np

from sslmlflow.figures.spectra import spectra_figure


def test_each_part_has_a_panel_with_the_log10_of_its_values():
    figure = spectra_figure({
        "encoder": {"epoch 0": np.array([100.0, 1.0, 0.1]), "epoch 40": np.array([10.0, 1.0, 1.0])},
        "projector": {"epoch 40": np.array([10.0, 0.0])},
    })  # fmt: skip
    encoder, projector = figure.axes
    assert [encoder.get_title(), projector.get_title()] == ["encoder", "projector"]
    np.testing.assert_array_equal(encoder.lines[0].get_xdata(), [1, 2, 3])
    np.testing.assert_allclose(encoder.lines[0].get_ydata(), [2, 0, -1])
    np.testing.assert_allclose(encoder.lines[1].get_ydata(), [1, 0, 0])
    np.testing.assert_allclose(projector.lines[0].get_ydata(), [1, np.nan])
    assert tuple(projector.lines[0].get_color()) == tuple(encoder.lines[1].get_color())


def test_the_legend_spans_many_epochs_from_the_first_to_the_last():
    figure = spectra_figure({"encoder": {f"epoch {i}": np.array([2.0, 1.0]) for i in range(41)}})
    assert len(figure.axes[0].lines) == 41
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["epoch 0", "epoch 10", "epoch 20", "epoch 30", "epoch 40"]
