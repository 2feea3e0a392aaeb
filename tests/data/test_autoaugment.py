"""The batched policy against torchvision's AutoAugment, image by image with the same draws."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torchvision.transforms import AutoAugment, AutoAugmentPolicy

from sslmlflow.data.autoaugment import OPERATIONS, Draws, apply, draw, signed_magnitude
from sslmlflow.errors import UserError


class FixedDraws(AutoAugment):
    """torchvision's transform, which is given its draws instead of making them."""

    def __init__(self, policy: int, chance: Tensor, sign: Tensor) -> None:
        super().__init__(AutoAugmentPolicy.CIFAR10)
        self.fixed = (policy, chance, sign)

    def get_params(self, transform_num: int) -> tuple[int, Tensor, Tensor]:
        return self.fixed


def random_images(n: int, channels: int, height: int, width: int) -> Tensor:
    """Random images of random contrast, so that equalize and autocontrast have something to do."""
    generator = torch.Generator().manual_seed(3)
    low, high = torch.randint(0, 256, (2, n, channels, 1, 1), generator=generator).sort(0).values
    values = low + (high - low) * torch.rand(n, channels, height, width, generator=generator)
    return values.round().to(torch.uint8)


def every_combination() -> Draws:
    """All sub-policies with each of their operations on or off and with either sign: 25 * 4 * 4 images."""
    grid = torch.cartesian_prod(torch.arange(25), *[torch.arange(2)] * 4)
    return Draws(grid[:, 0], grid[:, 1:3] * 0.9999, grid[:, 3:])


@pytest.mark.parametrize(("channels", "height", "width"), [(3, 32, 32), (1, 28, 28), (3, 331, 20)])
def test_each_image_is_changed_as_torchvision_changes_it(channels: int, height: int, width: int) -> None:
    draws = every_combination()
    images = random_images(len(draws.policy), channels, height, width)
    expected = torch.stack(
        [
            FixedDraws(int(policy), chance, sign)(image)
            for image, policy, chance, sign in zip(images, *draws, strict=True)
        ]
    )
    changed = apply(images, draws)
    assert changed.dtype == torch.uint8
    assert (expected != images).any((1, 2, 3)).float().mean() > 0.5
    assert torch.equal(changed, expected)


def test_magnitudes_are_those_of_torchvision() -> None:
    space = AutoAugment(AutoAugmentPolicy.CIFAR10)._augmentation_space(10, (30, 50))
    assert set(OPERATIONS) == set(space)
    for name, (magnitudes, signed) in space.items():
        levels = range(10) if magnitudes.ndim else [None]
        for level, magnitude in zip(levels, magnitudes.reshape(-1).tolist(), strict=True):
            assert signed_magnitude(name, level, 1, 30, 50) == magnitude
            assert signed_magnitude(name, level, 0, 30, 50) == (-magnitude if signed else magnitude)


def test_sub_policies_chances_and_signs_are_uniform() -> None:
    draws = draw(0, 0, np.arange(10_000))
    assert stats.chisquare(draws.policy.bincount(minlength=25).numpy()).pvalue > 1e-3
    for step in range(2):
        assert stats.kstest(draws.chance[:, step].numpy(), "uniform").pvalue > 1e-3
        assert stats.binomtest(int(draws.sign[:, step].sum()), 10_000).pvalue > 1e-3


def test_the_draws_are_a_function_of_seed_epoch_and_image_alone() -> None:
    whole = torch.column_stack(draw(1, 2, np.arange(500)))
    places = np.array([499, 3, 250])
    assert torch.equal(torch.column_stack(draw(1, 2, places)), whole[places])
    for other in (draw(2, 2, np.arange(500)), draw(1, 1, np.arange(500))):
        assert (torch.column_stack(other) != whole).any(1).all()


def test_the_images_given_stay_as_they_are() -> None:
    images = random_images(50, 3, 32, 32)
    before = images.clone()
    assert not torch.equal(apply(images, draw(0, 0, np.arange(50))), before)
    assert torch.equal(images, before)


def test_images_that_are_not_uint8_are_refused() -> None:
    with pytest.raises(UserError, match="uint8"):
        apply(torch.zeros(2, 3, 8, 8), draw(0, 0, np.arange(2)))
