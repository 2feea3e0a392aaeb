"""Stacks of augmentations: what each holds at which size, and what options change."""

import pytest

from sslmlflow.config.views import ViewOptions
from sslmlflow.data.augmentation import Augmentation, CropGroup, Views
from sslmlflow.data.stacks import MultiCrop, asymmetric, chosen_views, described, symmetric
from sslmlflow.errors import ConfigError


def of(views: Views, **options: object) -> Views:
    return chosen_views(views, MultiCrop(), ViewOptions(**options))  # type: ignore[arg-type]


def test_small_images_are_not_blurred_and_have_no_small_views() -> None:
    assert of(symmetric(32)) == (CropGroup(2, Augmentation(32)),)
    first, second = of(asymmetric(64))
    assert (first.augmentation.blur_p, second.augmentation.blur_p) == (0, 0)
    assert (first.augmentation.solarise_p, second.augmentation.solarise_p) == (0, 0.2)


def test_large_images_are_blurred_and_have_six_small_views_where_the_method_takes_them() -> None:
    first, second, small = of(asymmetric(224))
    assert (first.augmentation.blur_p, second.augmentation.blur_p) == (1.0, 0.1)
    assert first.augmentation.scale == second.augmentation.scale == (0.4, 1.0)
    assert (small.count, small.size, small.augmentation.scale) == (6, 96, (0.05, 0.4))
    assert len(chosen_views(asymmetric(224), None, ViewOptions())) == 2
    assert [(group.count, group.size) for group in of(symmetric(32), local_crops=4)] == [(2, 32), (4, 16)]


def test_options_change_every_view_and_the_crop_those_that_are_global() -> None:
    chances = {"gray": 0.1, "blur": 0.3, "solarise": 0.05, "hflip": 0.0, "vflip": 0.4, "rotate90": 0.7}
    found = of(asymmetric(96), crop_scale=0.3, local_crops=2, jitter=0.6, hue=0.2, **chances)
    for group in found:
        aug = group.augmentation
        assert aug.jitter == (0.6, 0.6, 0.6, 0.2)
        found_chances = aug.gray_p, aug.blur_p, aug.solarise_p, aug.flip_p, aug.vflip_p, aug.rotate90_p
        assert found_chances == tuple(chances.values())
    assert [group.augmentation.scale for group in found] == [(0.3, 1.0), (0.3, 1.0), (0.05, 0.4)]


def test_stacks_for_images_that_are_not_photographs() -> None:
    for group in of(asymmetric(32), augmentation="gray"):
        assert group.augmentation.jitter == (0.4, 0.4, 0, 0)
        assert group.augmentation.gray_p == 0
    for group in of(asymmetric(32), augmentation="gray", jitter=0.3):
        assert group.augmentation.jitter == (0.3, 0.3, 0, 0)
    for group in of(asymmetric(32), augmentation="aerial-or-microscope", rotate90=0.5):
        aug = group.augmentation
        assert (aug.vflip_p, aug.rotate90_p, aug.jitter[3], aug.gray_p, aug.solarise_p) == (0.5, 0.5, 0.05, 0, 0)


def test_a_method_that_compares_two_views_refuses_small_ones() -> None:
    with pytest.raises(ConfigError, match=r"invalid value for local_crops: 6 \(must be auto or 0"):
        chosen_views(symmetric(224), None, ViewOptions(local_crops=6))
    with pytest.raises(ConfigError, match=r"invalid value for local_crops: 6 \(must be 0 for images of 8 px"):
        of(symmetric(8), local_crops=6)


def test_what_is_off_by_default_is_not_in_the_words() -> None:
    assert "blur" not in described(symmetric(32))
    assert " " not in described(symmetric(32))
    assert described(symmetric(32)) != described(of(symmetric(32), gray=0.1))
    assert "blur_p=0.3" in described(of(symmetric(32), blur=0.3))
