"""Batched views against torchvision, image by image: same pixels for the same draws, same distributions."""

import hashlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torchvision import transforms
from torchvision.transforms import functional as tv

from sslmlflow.data.augmentation import Augmentation, CropGroup
from sslmlflow.data.view_parameters import ViewParameters, draw_parameters, fixed_parameters
from sslmlflow.data.views import apply, make_crops
from sslmlflow.errors import UserError

MEAN = torch.tensor([0.49, 0.48, 0.45])
STD = torch.tensor([0.25, 0.24, 0.26])
DRAWS = 10_000


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def views_of(images: Tensor, aug: Augmentation, mean: Tensor, std: Tensor, seed: int = 0, count: int = 2) -> Tensor:
    return make_crops(images, (CropGroup(count, aug),), mean, std, generator(seed))[0][0]


def random_images(n: int, channels: int, height: int, width: int) -> Tensor:
    return torch.randint(0, 256, (n, channels, height, width), dtype=torch.uint8, generator=generator(7))


def drawn_in_order(aug: Augmentation, n: int, height: int, width: int) -> ViewParameters:
    return draw_parameters(aug, n, height, width, generator())


def drawn_by_place(aug: Augmentation, n: int, height: int, width: int) -> ViewParameters:
    return fixed_parameters(aug, np.arange(n), height, width, seed=0, count=1)


Drawing = Callable[[Augmentation, int, int, int], ViewParameters]
both = pytest.mark.parametrize("drawing", [drawn_in_order, drawn_by_place])


def torchvision_view(image: Tensor, drawn: ViewParameters, i: int, aug: Augmentation) -> Tensor:
    """The view i of one uint8 image (3, h, w), each step by torchvision on floats, before normalisation."""
    top, left, height, width = (int(p[i]) for p in drawn[:4])
    x = tv.resized_crop(image / 255, top, left, height, width, [aug.size, aug.size], antialias=True)
    if drawn.flip[i]:
        x = tv.hflip(x)
    if drawn.vflip[i]:
        x = tv.vflip(x)
    x = torch.rot90(x, int(drawn.turns[i]), (1, 2))
    operations = [tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation, tv.adjust_hue]
    if drawn.jitter[i]:
        for operation in drawn.order[i].tolist():
            x = operations[operation](x, float(drawn.factors[i, operation]))
    x = tv.rgb_to_grayscale(x, 3) if drawn.gray[i] else x
    if drawn.sigma[i] > 0:
        x = tv.gaussian_blur(x, max(aug.size // 10 // 2 * 2 + 1, 3), float(drawn.sigma[i]))
    return tv.solarize(x, 0.5) if drawn.solarise[i] else x


@pytest.mark.parametrize(
    ("size", "height", "width"), [(32, 32, 32), (32, 96, 96), (32, 20, 24), (24, 30, 70), (8, 9, 3)]
)
@pytest.mark.parametrize("jitter", [(0.4, 0.4, 0.4, 0.1), (0.9, 0.9, 0.9, 0.5), (2.0, 1.5, 3.0, 0.3)])
def test_views_equal_torchvision_image_by_image(
    size: int, height: int, width: int, jitter: tuple[float, float, float, float]
) -> None:
    aug = Augmentation(size, jitter=jitter)
    images = random_images(60, 3, height, width)
    images[:20] = images[:20] // 40 * 40  # repeated values: ties between the channels, grey pixels
    images[20:23] = torch.tensor([0, 128, 255], dtype=torch.uint8).view(3, 1, 1, 1)
    drawn = draw_parameters(aug, 60, height, width, generator())
    views = apply(images, drawn, aug, MEAN, STD)
    expected = torch.stack([torchvision_view(image, drawn, i, aug) for i, image in enumerate(images)])
    # torchvision writes the first weight of the luma, 0.299, as 0.2989; an 8-bit step is 4e-3.
    assert views.dtype == torch.float32
    torch.testing.assert_close(views * STD.view(3, 1, 1) + MEAN.view(3, 1, 1), expected, atol=5e-4, rtol=0)


@pytest.mark.parametrize("size", [24, 64])
def test_flips_turns_blur_and_solarisation_equal_torchvision_image_by_image(size: int) -> None:
    # Weak jitter keeps values away from one half, where 5e-4 decides whether a pixel is inverted.
    aug = Augmentation(size, jitter_p=0, gray_p=0, vflip_p=0.5, rotate90_p=0.8, blur_p=0.6, solarise_p=0.5)
    images = random_images(60, 3, 40, 31)
    drawn = draw_parameters(aug, 60, 40, 31, generator())
    views = apply(images, drawn, aug, torch.zeros(3), torch.ones(3))
    expected = torch.stack([torchvision_view(image, drawn, i, aug) for i, image in enumerate(images)])
    apart = (expected - 0.5).abs() > 1e-4
    torch.testing.assert_close(views[apart], expected[apart], atol=2e-5, rtol=0)
    assert {int(turns) for turns in drawn.turns} == {0, 1, 2, 3}
    assert 0 < int((drawn.sigma > 0).sum()) < 60


@pytest.mark.parametrize("images", ["draws", "places"])
def test_the_parts_that_are_off_by_default_have_their_distributions(images: str) -> None:
    aug = Augmentation(32, vflip_p=0.3, rotate90_p=0.8, blur_p=0.4, solarise_p=0.2)
    drawn = (drawn_in_order if images == "draws" else drawn_by_place)(aug, DRAWS, 32, 32)
    blurred = drawn.sigma > 0
    for flags, p in ((drawn.vflip, 0.3), (drawn.turns > 0, 0.6), (blurred, 0.4), (drawn.solarise, 0.2)):
        assert stats.binomtest(int(flags.sum()), DRAWS, p).pvalue > 1e-3
    assert stats.chisquare(torch.bincount(drawn.turns)[1:].numpy()).pvalue > 1e-3
    with torch.random.fork_rng():
        torch.manual_seed(5)
        theirs = [transforms.GaussianBlur.get_params(0.1, 2.0) for _ in range(DRAWS)]
    assert same_distribution(drawn.sigma[blurred].numpy(), np.array(theirs))


def test_crops_come_by_their_size_and_tell_where_they_were_taken() -> None:
    # Every pixel holds its own place: what a crop shows is where it was taken.
    down, across = torch.meshgrid(torch.arange(40), torch.arange(60), indexing="ij")
    images = torch.stack([across * 4, down * 4, down * 0]).to(torch.uint8).expand(5, 3, 40, 60)
    plain = Augmentation(8, jitter_p=0, gray_p=0, vflip_p=0.5)
    views = CropGroup(1, plain), CropGroup(1, replace(plain, flip_p=1.0)), CropGroup(3, replace(plain, size=4))
    crops, boxes = make_crops(images, views, torch.zeros(3), torch.ones(3), generator())
    assert [tuple(of.shape) for of in crops] == [(2, 5, 3, 8, 8), (3, 5, 3, 4, 4)]
    assert [tuple(of.shape) for of in boxes] == [(2, 5, 4), (3, 5, 4)]
    for of, taken in zip(crops, boxes, strict=True):
        left, top, right, bottom = taken.unbind(-1)
        centre = of.mean(dim=(-2, -1)) * 255 / 4 + 0.5  # of the pixel at the place
        torch.testing.assert_close(centre[:, :, 0], (left + right) / 2, atol=0.6, rtol=0)
        torch.testing.assert_close(centre[:, :, 1], (top + bottom) / 2, atol=0.6, rtol=0)
        columns, rows = of[:, :, 0], of[:, :, 1]
        assert torch.equal(columns[..., 0, 0] > columns[..., 0, -1], left > right)
        assert torch.equal(rows[..., 0, 0] > rows[..., -1, 0], top > bottom)
    assert (boxes[0][1, :, 0] > boxes[0][1, :, 2]).all()


def test_crop_and_flip_equal_torchvision_to_float_precision() -> None:
    aug = Augmentation(32, jitter_p=0, gray_p=0)
    images = random_images(100, 3, 50, 41)
    drawn = draw_parameters(aug, 100, 50, 41, generator())
    views = apply(images, drawn, aug, torch.zeros(3), torch.ones(3))
    expected = torch.stack([torchvision_view(image, drawn, i, aug) for i, image in enumerate(images)])
    torch.testing.assert_close(views, expected, atol=2e-6, rtol=0)


def test_a_crop_of_one_pixel_is_that_pixel_everywhere() -> None:
    aug = Augmentation(8, jitter_p=0, gray_p=0)
    images = random_images(2, 3, 5, 6)
    drawn = draw_parameters(aug, 2, 5, 6, generator())._replace(
        top=torch.tensor([0, 4]),
        left=torch.tensor([0, 5]),
        height=torch.tensor([1, 1]),
        width=torch.tensor([1, 1]),
    )
    views = apply(images, drawn, aug, torch.zeros(3), torch.ones(3))
    corners = torch.stack([images[0, :, 0, 0], images[1, :, 4, 5]]) / 255
    torch.testing.assert_close(views, corners[:, :, None, None].expand(2, 3, 8, 8))


@pytest.mark.parametrize("shape", [(40, 28, 28), (40, 20, 33)])
def test_a_grey_image_gives_the_views_of_its_three_channel_copy(shape: tuple[int, int, int]) -> None:
    n, height, width = shape
    aug = Augmentation(32)
    images = random_images(n, 1, height, width)
    drawn = draw_parameters(aug, n, height, width, generator())
    in_colour = apply(images.expand(-1, 3, -1, -1), drawn, aug, MEAN, STD)
    torch.testing.assert_close(apply(images, drawn, aug, MEAN, STD), in_colour, atol=1e-5, rtol=0)
    grey = apply(images, drawn, aug, MEAN[:1], STD[:1])
    assert grey.shape == (n, 3, 32, 32)
    torch.testing.assert_close(grey[:, 2], in_colour[:, 0], atol=1e-5, rtol=0)


def test_the_seed_decides_the_bits_and_the_views_differ() -> None:
    images, aug = random_images(30, 3, 32, 32), Augmentation(32)
    first, again, other = (views_of(images, aug, MEAN, STD, seed) for seed in (1, 1, 2))
    assert first.shape == (2, 30, 3, 32, 32)
    assert first.is_contiguous()
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert ((first[0] - first[1]).abs().amax((1, 2, 3)) > 0.1).all()


def test_every_view_is_one_of_its_own_image_and_the_images_stay_as_they_are() -> None:
    values = torch.arange(50, dtype=torch.uint8)
    images = values.view(50, 1, 1, 1).expand(50, 3, 16, 16).contiguous()
    aug = Augmentation(8, jitter=(0, 0, 0, 0))
    views = views_of(images, aug, torch.zeros(3), torch.ones(3), count=3)
    expected = (values / 255).view(1, 50, 1, 1, 1).expand(3, 50, 3, 8, 8)
    torch.testing.assert_close(views, expected)
    assert torch.equal(images[:, 0, 0, 0], values)


@pytest.mark.parametrize("images", [torch.zeros(2, 3, 8, 8), torch.zeros(2, 4, 8, 8, dtype=torch.uint8)])
def test_images_that_are_not_uint8_grey_or_rgb_are_refused(images: Tensor) -> None:
    with pytest.raises(UserError, match="uint8"):
        views_of(images, Augmentation(8), MEAN, STD)


@pytest.mark.parametrize("seed", [0, 12345])
def test_fixed_parameters_are_a_function_of_seed_image_and_view_alone(seed: int) -> None:
    aug, n = Augmentation(32), 400
    whole = fixed_parameters(aug, np.arange(n), 28, 45, seed, count=3)
    places = np.random.default_rng(seed).permutation(n)[:37]
    some = fixed_parameters(aug, places, 28, 45, seed, count=2)
    rows = np.concatenate([places, n + places])
    assert all(torch.equal(ours, theirs[rows]) for ours, theirs in zip(some, whole, strict=True))
    other = fixed_parameters(aug, np.arange(n), 28, 45, seed + 1)
    assert (other.factors[:n] != whole.factors[:n]).all()
    assert (whole.factors[:n] != whole.factors[n : 2 * n]).all()


def test_training_draws_the_views_that_it_always_drew() -> None:
    """An interrupted training of an earlier build goes on with the same views: its draws are kept to the bit."""
    drawn = draw_parameters(Augmentation(32), 513, 20, 33, generator(5))
    kept = hashlib.sha256(b"".join(tensor.contiguous().numpy().tobytes() for tensor in drawn[:9])).hexdigest()
    assert kept[:16] == "528e5611d8ce02ea"


def torchvision_crops(aug: Augmentation, height: int, width: int, count: int = DRAWS) -> np.ndarray:
    """(count, 4): top, left, height, width as torchvision draws them."""
    image = torch.empty(3, height, width)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        draws = [transforms.RandomResizedCrop.get_params(image, list(aug.scale), list(aug.ratio)) for _ in range(count)]
    return np.array(draws)


def same_distribution(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """Two-sample Kolmogorov-Smirnov for many distinct values, chi-square of the two histograms for few."""
    values = np.unique(np.concatenate([ours, theirs]))
    if len(values) > 100:
        return bool(stats.ks_2samp(ours, theirs).pvalue > 1e-3)
    table = np.array([[(sample == value).sum() for value in values] for sample in (ours, theirs)])
    common = table.sum(0) >= 10
    table = np.hstack([table[:, common], table[:, ~common].sum(1, keepdims=True)])
    return bool(stats.chi2_contingency(table[:, table.sum(0) > 0]).pvalue > 1e-3)


@both
@pytest.mark.parametrize(("height", "width"), [(32, 32), (28, 45), (500, 375)])
def test_crops_are_distributed_as_those_of_torchvision(drawing: Drawing, height: int, width: int) -> None:
    aug = Augmentation(32)
    ours = torch.stack(drawing(aug, DRAWS, height, width)[:4], 1).numpy()
    theirs = torchvision_crops(aug, height, width)
    top, left, crop_height, crop_width = ours.T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + crop_height <= height).all()
    assert (left + crop_width <= width).all()
    for column in range(4):
        assert same_distribution(ours[:, column], theirs[:, column])
    assert same_distribution(ours[:, 2] * ours[:, 3], theirs[:, 2] * theirs[:, 3])
    assert same_distribution(ours[:, 3] / ours[:, 2], theirs[:, 3] / theirs[:, 2])


@pytest.mark.parametrize(("height", "width"), [(4, 101), (101, 4), (2, 7)])
def test_where_no_try_fits_the_crop_is_the_central_one_of_torchvision(height: int, width: int) -> None:
    aug = Augmentation(32, scale=(0.99, 1.0))
    ours = torch.stack(draw_parameters(aug, 50, height, width, generator())[:4], 1).numpy()
    assert (ours == torchvision_crops(aug, height, width, 50)).all()


@both
@pytest.mark.parametrize("jitter", [(0.4, 0.4, 0.4, 0.1), (1.5, 0.2, 0.8, 0.5)])
def test_jitter_is_distributed_as_that_of_torchvision(
    drawing: Drawing, jitter: tuple[float, float, float, float]
) -> None:
    drawn = drawing(Augmentation(32, jitter=jitter), DRAWS, 32, 32)
    theirs = transforms.ColorJitter(*jitter)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        draws = [
            theirs.get_params(theirs.brightness, theirs.contrast, theirs.saturation, theirs.hue) for _ in range(DRAWS)
        ]
    for column in range(4):
        assert same_distribution(drawn.factors[:, column].numpy(), np.array([d[1 + column] for d in draws]))
    digits = np.array([1000, 100, 10, 1])
    assert same_distribution(drawn.order.numpy() @ digits, np.stack([d[0].numpy() for d in draws]) @ digits)
    orders = np.unique(drawn.order.numpy(), axis=0, return_counts=True)[1]
    assert len(orders) == 24
    assert stats.chisquare(orders).pvalue > 1e-3


@both
def test_flip_jitter_and_grayscale_have_their_probabilities_and_are_independent(drawing: Drawing) -> None:
    drawn = drawing(Augmentation(32), DRAWS, 32, 32)
    for flags, p in ((drawn.flip, 0.5), (drawn.jitter, 0.8), (drawn.gray, 0.2)):
        assert stats.binomtest(int(flags.sum()), DRAWS, p).pvalue > 1e-3
    joint = torch.bincount(4 * drawn.flip + 2 * drawn.jitter + drawn.gray, minlength=8).numpy()
    expected = [f * j * g * DRAWS for f in (0.5, 0.5) for j in (0.2, 0.8) for g in (0.8, 0.2)]
    assert stats.chisquare(joint, expected).pvalue > 1e-3
