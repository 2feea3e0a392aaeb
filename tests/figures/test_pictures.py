import io

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from sslmlflow.figures.pictures import clusters_figure, neighbours_figure, outliers_figure

RNG = np.random.default_rng(5)


def noise(*shape):
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def on_screen(figure):
    """What the person sees inside the axis, pixel for pixel, rendered as a PNG."""
    file = io.BytesIO()
    FigureCanvasAgg(figure).print_png(file)
    page = np.asarray(Image.open(file).convert("RGB")).astype(int)
    left, bottom, width, height = (figure.axes[0].get_position().bounds * np.tile(page.shape[1::-1], 2)).round()
    top = page.shape[0] - int(bottom + height)
    return page[top : top + int(height), int(left) : int(left + width)]


def shows(screen, image, row, column, below=4):
    """Whether the 64-pixel place holds the image (c, h, w), each of its pixels a sharp square."""
    times = 64 // image.shape[1]
    expected = np.broadcast_to(image, (3, *image.shape[1:])).transpose(1, 2, 0).astype(int)
    y, x = row * (64 + below), column * (64 + 4)
    place = screen[y : y + 64, x : x + 64]
    # Thumbnails keep the upper six bits of a colour.
    return all(abs(place[dy::times, dx::times] - expected).max() <= 3 for dy in range(times) for dx in range(times))


def test_clusters_lie_in_rows_beside_their_names_and_sizes():
    clusters = [noise(12, 3, 32, 32), noise(1, 3, 32, 32), noise(0, 3, 32, 32)]
    figure = clusters_figure(clusters, ["a", "b", "c"], "epoch 40")
    screen = on_screen(figure)
    assert screen.shape == (3 * 68 - 4, 10 * 68 - 4, 3)
    assert all(shows(screen, clusters[0][j], 0, j) for j in range(10))
    assert shows(screen, clusters[1][0], 1, 0)
    assert (screen[68:, 68:] == 255).all()
    assert (screen[2 * 68 :] == 255).all()
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["a\n12 images", "b\n1 image", "c\n0 images"]


def test_sizes_given_stand_beside_a_selection_of_the_images():
    figure = clusters_figure([noise(2, 1, 8, 8)], ["a"], "", sizes=[812])
    assert figure.axes[0].get_yticklabels()[0].get_text() == "a\n812 images"


def test_many_clusters_have_fewer_images_each_rather_than_unrecognisable_ones():
    screen = on_screen(clusters_figure([noise(10, 3, 32, 32)] * 20, [str(i) for i in range(20)], ""))
    assert screen.shape == (20 * 68 - 4, 5 * 68 - 4, 3)


def test_black_and_white_of_gray_images_stay_black_and_white():
    image = np.zeros((1, 1, 16, 16), dtype=np.uint8)
    image[0, 0, 3, 5] = 255
    screen = on_screen(outliers_figure(image, np.array([1.0])))
    assert (screen[12:16, 20:24] == 255).all()
    assert np.count_nonzero(screen) == 3 * 4 * 4


def test_larger_images_are_averaged_down_and_keep_their_shape():
    image = np.zeros((1, 3, 128, 256), dtype=np.uint8)
    image[:, 0, :, 128:] = 200
    screen = on_screen(outliers_figure(image, np.array([1.0])))
    assert screen.shape == (32, 64, 3)
    assert abs(screen[:, 32:] - [200, 0, 0]).max() <= 3
    assert (screen[:, :32] == 0).all()


def test_a_query_is_followed_by_its_neighbours_in_the_order_given():
    queries, neighbours = noise(2, 3, 16, 16), noise(2, 4, 3, 16, 16)
    figure = neighbours_figure(queries, neighbours, "epoch 40")
    axis = figure.axes[0]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["query", "1", "2", "3", "4"]
    assert len(axis.patches) == len(queries)
    for frame in list(axis.patches):  # the frames touch the outermost pixels
        frame.remove()
    screen = on_screen(figure)
    assert all(shows(screen, queries[i], i, 0) for i in range(2))
    assert all(shows(screen, neighbours[i, j], i, j + 1) for i in range(2) for j in range(4))


def test_outliers_come_highest_first_each_above_its_score():
    pixels, scores = noise(12, 3, 32, 32), np.arange(12) / 8
    figure = outliers_figure(pixels, scores)
    axis = figure.axes[0]
    texts = {(round(text.get_position()[0]), round(text.get_position()[1])): text for text in axis.texts}
    screen = on_screen(figure)
    for place, index in enumerate(range(11, -1, -1)):
        row, column = divmod(place, 10)
        assert shows(screen, pixels[index], row, column, below=18)
        assert float(texts[column * 68 + 32, row * 82 + 66].get_text()) == np.float64(f"{scores[index]:.3g}")


def test_photographs_make_a_small_file():
    coarse = RNG.integers(0, 256, (100, 8, 8, 3), dtype=np.uint8)
    smooth = [np.asarray(Image.fromarray(image).resize((224, 224), Image.Resampling.BICUBIC)) for image in coarse]
    photographs = np.clip(np.stack(smooth) + RNG.normal(0, 5, (100, 224, 224, 1)), 0, 255).astype(np.uint8)
    clusters = list(photographs.transpose(0, 3, 1, 2).reshape(10, 10, 3, 224, 224))
    file = io.BytesIO()
    clusters_figure(clusters, [str(i) for i in range(10)], "").savefig(file)
    assert len(file.getvalue()) < 300_000
