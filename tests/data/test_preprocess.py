"""What a milestone carries: mean and deviation, and the way from any picture to what the encoder takes."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sslmlflow.data import open_images
from sslmlflow.data.preprocess import Preprocessing, measure_preprocessing
from sslmlflow.data.source import ArrayImages, DatasetSpec
from sslmlflow.errors import UserError

COLOUR = Preprocessing(6, 3, (0.5, 0.4, 0.3), (0.25, 0.2, 0.1))
GRAY = Preprocessing(6, 1, (0.2,), (0.5,))


def random_images(count: int, channels: int, size: int = 4) -> np.ndarray:
    # Channels of different brightness, so that none can stand for another.
    highest = np.array([250, 120, 40][:channels])[:, None, None]
    return (np.random.default_rng(1).random((count, channels, size, size)) * highest).astype(np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("count", [1, 7, 499, 1203])
def test_mean_and_deviation_are_those_of_all_images(count: int, channels: int) -> None:
    pixels = random_images(count, channels)
    measured = measure_preprocessing(ArrayImages(pixels))
    assert (measured.image_size, measured.channels) == (4, channels)
    assert measured.mean == pytest.approx((pixels / 255).mean(axis=(0, 2, 3)), abs=1e-6)
    assert measured.std == pytest.approx((pixels / 255).std(axis=(0, 2, 3)), abs=1e-6)


def test_of_very_many_images_those_measured_are_spread_over_all() -> None:
    pixels = np.zeros((25_000, 1, 1, 2), np.uint8)
    pixels[12_500:, ..., 1] = 200  # a set that is sorted
    measured = measure_preprocessing(ArrayImages(pixels))
    assert measured.mean == pytest.approx((pixels / 255).mean(axis=(0, 2, 3)), abs=1e-3)
    assert measured.std == pytest.approx((pixels / 255).std(axis=(0, 2, 3)), abs=1e-3)


def test_images_of_one_colour_can_be_normalised() -> None:
    measured = measure_preprocessing(ArrayImages(np.full((5, 3, 4, 4), 77, np.uint8)))
    out = measured.normalise(torch.full((2, 3, 4, 4), 77, dtype=torch.uint8))
    assert torch.isfinite(out).all()
    assert out.abs().max() < 1e-2


def test_normalised_training_images_have_mean_0_and_deviation_1() -> None:
    pixels = random_images(300, 3)
    out = measure_preprocessing(ArrayImages(pixels)).normalise(torch.from_numpy(pixels)).double()
    assert out.mean(dim=(0, 2, 3)).tolist() == pytest.approx([0, 0, 0], abs=1e-4)
    assert out.std(dim=(0, 2, 3), correction=0).tolist() == pytest.approx([1, 1, 1], abs=1e-4)


def test_colour_for_an_encoder_of_colour() -> None:
    image = torch.tensor([255, 51, 0], dtype=torch.uint8).view(1, 3, 1, 1).expand(2, 3, 6, 6)
    out = COLOUR.normalise(image)
    assert (out.shape, out.dtype) == ((2, 3, 6, 6), torch.float32)
    assert out[1, :, 3, 2].tolist() == pytest.approx([(1 - 0.5) / 0.25, (0.2 - 0.4) / 0.2, (0 - 0.3) / 0.1])


def test_gray_for_an_encoder_of_gray_is_three_equal_channels() -> None:
    out = GRAY.normalise(torch.full((2, 1, 6, 6), 102, dtype=torch.uint8))
    assert out.shape == (2, 3, 6, 6)
    torch.testing.assert_close(out, torch.full((2, 3, 6, 6), (0.4 - 0.2) / 0.5))


def test_colour_for_an_encoder_of_gray_is_turned_to_its_luma() -> None:
    out = GRAY.normalise(torch.tensor([200, 100, 50], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 6, 6))
    luma = (0.299 * 200 + 0.587 * 100 + 0.114 * 50) / 255  # ITU-R BT.601
    assert out.shape == (1, 3, 6, 6)
    torch.testing.assert_close(out, torch.full((1, 3, 6, 6), (luma - 0.2) / 0.5), rtol=0, atol=1e-3)


def test_gray_for_an_encoder_of_colour_is_gray_of_three_equal_channels_before_it_is_scaled() -> None:
    out = COLOUR.normalise(torch.full((1, 1, 6, 6), 102, dtype=torch.uint8))
    assert out.shape == (1, 3, 6, 6)
    assert out[0, :, 0, 0].tolist() == pytest.approx(
        [(0.4 - 0.5) / 0.25, (0.4 - 0.4) / 0.2, (0.4 - 0.3) / 0.1], abs=1e-6
    )


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I;16", "I", "F"])
@pytest.mark.parametrize("size", [(6, 6), (9, 4), (1, 30), (64, 48)])
def test_pictures_of_every_mode_and_size_are_taken(mode: str, size: tuple[int, int]) -> None:
    picture = Image.new(mode, size)
    assert COLOUR.pixels([picture, picture]).shape == (2, 3, 6, 6)
    assert GRAY.pixels([picture]).shape == (1, 1, 6, 6)
    assert COLOUR.pixels([picture]).dtype == GRAY.pixels([picture]).dtype == np.uint8


def test_pictures_of_several_modes_and_sizes_keep_their_order_and_colours() -> None:
    pictures = [
        Image.new("RGB", (12, 8), (10, 20, 30)),
        Image.new("L", (6, 6), 99),
        Image.new("RGBA", (3, 40), (10, 20, 30, 0)),  # nothing but transparency: white
        Image.fromarray(np.full((7, 7), 257 * 40, np.uint16)),
    ]
    expected = [(10, 20, 30), (99, 99, 99), (255, 255, 255), (40, 40, 40)]
    pixels = COLOUR.pixels(pictures)
    for image, colour in zip(pixels, expected, strict=True):
        assert (image == np.array(colour, np.uint8)[:, None, None]).all()
    grays = GRAY.pixels(pictures)[:, 0, 0, 0].tolist()
    assert grays == [round(0.299 * r + 0.587 * g + 0.114 * b) for r, g, b in expected]


def test_the_centre_is_taken_upright() -> None:
    wide = np.zeros((6, 12, 3), np.uint8)  # black | red | black: the red is the centre square
    wide[:, 3:9] = (200, 0, 0)
    assert (COLOUR.pixels([Image.fromarray(wide)])[0, 0] == 200).all()
    top = np.zeros((8, 8), np.uint8)
    top[:4] = 255
    mean_by_row = Preprocessing(8, 1, (0.5,), (0.5,)).pixels([Image.fromarray(top)])[0, 0].mean(axis=1)
    assert mean_by_row.tolist() == [255] * 4 + [0] * 4


def test_pictures_are_read_as_the_folder_data_set_reads_their_files(tmp_path: Path) -> None:
    """Also those that a camera stored on their side."""
    rng = np.random.default_rng(0)
    shapes = [(6, 6), (6, 9), (11, 6), (9, 13)]
    for number, (height, width) in enumerate(shapes):
        picture = Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))
        exif = Image.Exif()
        exif[0x0112] = (1, 3, 6, 8)[number]  # orientation
        picture.save(tmp_path / f"{number}.png", exif=exif)
    odd = Image.Exif()
    odd[0x0112], odd[0x0110] = 6, "a camera"
    written = odd.tobytes().replace(b"\1\x10\0\2", b"\1\x10\0\xff")  # the type of its name: cannot be written back
    Image.fromarray(rng.integers(0, 256, (8, 6, 3), np.uint8)).save(tmp_path / "odd.png", exif=written)
    files = sorted(tmp_path.iterdir())
    spec = DatasetSpec(
        "folder", tmp_path, download=False, image_size=6, max_train=None, max_test=None, test_fraction=0.2
    )
    sets = open_images(spec, tmp_path.parent / f"{tmp_path.name}-cache")
    read = [part.read(np.arange(len(part))) for part in (sets.train, sets.test)]
    ours = COLOUR.pixels([Image.open(file) for file in files])
    assert sorted(image.tobytes() for image in ours) == sorted(image.tobytes() for image in np.concatenate(read))


@pytest.mark.parametrize(("bit_depth", "white"), [(8, 255), (10, 1023), (12, 4095), (16, 65535)])
def test_deep_pictures_are_scaled_by_the_bit_depth(bit_depth: int, white: int) -> None:
    preprocessing = replace(GRAY, bit_depth=bit_depth)
    stored = [Image.fromarray(np.full((6, 6), value, np.uint16)) for value in (0, white // 5, white)]
    wide = Image.fromarray(np.full((6, 6), white // 5, np.int32))
    found = preprocessing.pixels([*stored, wide, Image.new("L", (6, 6), 99)])
    assert found[:, 0, 0, 0].tolist() == [0, 51, 255, 51, 99]


def test_a_picture_that_does_not_fit_is_named() -> None:
    pictures = [Image.new("L", (6, 6)), Image.fromarray(np.full((6, 6), 1024, np.uint16))]
    with pytest.raises(UserError, match=r"picture 1 .* values up to 1024, more than bit_depth=10 holds \(0..1023\)"):
        replace(GRAY, bit_depth=10).pixels(pictures)


def test_what_earlier_releases_kept_read_deep_pictures_with_16_bits() -> None:
    kept = GRAY.as_json()
    del kept["bit_depth"]
    assert Preprocessing.from_json(kept).bit_depth == 16


def test_it_survives_being_written_as_json() -> None:
    for preprocessing in (replace(GRAY, bit_depth=12), measure_preprocessing(ArrayImages(random_images(50, 3)))):
        again = Preprocessing(**json.loads(json.dumps(preprocessing.as_json())))
        images = torch.from_numpy(random_images(3, preprocessing.channels))
        assert torch.equal(again.normalise(images), preprocessing.normalise(images))
        assert again.as_json() == json.loads(json.dumps(preprocessing.as_json()))
