"""Stacks of augmentations by their names, and how the parts of one are changed."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from sslmlflow.config.views import ViewOptions
from sslmlflow.data.augmentation import Augmentation, CropGroup, Views
from sslmlflow.errors import ConfigError

LARGEST_SHARP = 64  # pixels: images up to this side are not blurred, and have no local crops


@dataclass(frozen=True)
class MultiCrop:
    """Small views beside the two: which share of the image each kind shows, and how many there are by default.

    Source: Caron et al. 2021 (arXiv 2104.14294), "Implementation details".
    """

    count: int = 6
    count_of_small: int = 0  # for images of at most 64 pixels
    global_scale: tuple[float, float] = (0.4, 1.0)
    local_scale: tuple[float, float] = (0.05, 0.4)


def symmetric(size: int) -> Views:
    """Two views drawn alike, without blur: SimCLR's for CIFAR-10 (Chen et al. 2020, arXiv 2002.05709, B.9)."""
    return (CropGroup(2, Augmentation(size)),)


def asymmetric(size: int) -> Views:
    """Two views drawn differently: the first is blurred, the second rarely, and solarised now and then.

    Images up to 64 pixels are not blurred. Source: Grill et al. 2020 (arXiv 2006.07733), appendix B, table 6.
    """
    base = Augmentation(size, jitter=(0.4, 0.4, 0.2, 0.1))
    blurs = (1.0, 0.1) if size > LARGEST_SHARP else (0.0, 0.0)
    first, second = (replace(base, blur_p=blur) for blur in blurs)
    return CropGroup(1, first), CropGroup(1, replace(second, solarise_p=0.2))


def with_local_crops(views: Views, count: int, crops: MultiCrop) -> Views:
    """The views, of larger parts of the image, and small ones at 3/7 of their side, a multiple of 8.

    Source: Caron et al. 2021 (arXiv 2104.14294), "Implementation details", whose sides are 224 and 96 pixels.

    >>> [(group.count, group.size) for group in with_local_crops(symmetric(224), 6, MultiCrop())]
    [(2, 224), (6, 96)]
    """
    if not count:
        return views
    wide = [CropGroup(group.count, replace(group.augmentation, scale=crops.global_scale)) for group in views]
    first = views[0].augmentation
    side = max(round(first.size * 3 / 7 / 8) * 8, 8)
    if side >= first.size:
        raise ConfigError(
            f"invalid value for local_crops: {count} (must be 0 for images of {first.size} px). Set --local_crops=0, "
            "or use a larger --image_size."
        )
    blur = 0.5 if first.size > LARGEST_SHARP else 0.0
    return *wide, CropGroup(count, replace(first, size=side, scale=crops.local_scale, blur_p=blur))


def chosen_views(views: Views, crops: MultiCrop | None, options: ViewOptions) -> Views:
    """A method's views with what the options change of them; ConfigError for what it cannot have."""
    size = views[0].size
    count = options.local_crops
    if crops is None and count:
        raise ConfigError(
            f"invalid value for local_crops: {count} (must be auto or 0: the method compares two views per image). "
            "Methods with small views: swav, dino, vicregl."
        )
    if crops is not None:
        by_default = crops.count if size > LARGEST_SHARP else crops.count_of_small
        views = with_local_crops(views, by_default if count is None else count, crops)
    changed = tuple(_changed(group, options, group.size == size) for group in views)
    if len({group.augmentation for group in changed}) == 1 and changed[0].augmentation.is_fixed:
        raise ConfigError(
            "invalid values for the views: both views of an image are the same (must differ in something). Leave "
            "--crop_scale, --jitter, --hue, --gray or --hflip at auto, or set --blur or --solarise."
        )
    return changed


def described(views: Views) -> str:
    """All that decides the views, as text without spaces: MLflow's command line may drop these from a parameter."""
    return "+".join(f"{group.count}x{_in_words(group.augmentation)}" for group in views)


def _in_words(aug: Augmentation) -> str:
    parts = aug.as_json()
    size = parts.pop("size")
    values = ",".join(f"{name}={_number(value)}" for name, value in parts.items())
    return f"{size}px({values})"


def _number(value: float | tuple[float, ...]) -> str:
    return "/".join(f"{one:.4g}" for one in value) if isinstance(value, tuple) else f"{value:g}"


def _changed(group: CropGroup, options: ViewOptions, is_global: bool) -> CropGroup:
    aug = _STACKS[options.augmentation](group.augmentation)
    if options.crop_scale is not None and is_global:
        aug = replace(aug, scale=(options.crop_scale, aug.scale[1]))
    brightness, contrast, saturation, hue = aug.jitter
    if options.jitter is not None:
        brightness = contrast = options.jitter
        saturation = options.jitter if saturation else 0.0  # a stack without colours stays one
    given: dict[str, Any] = {
        "gray_p": options.gray,
        "blur_p": options.blur,
        "solarise_p": options.solarise,
        "flip_p": options.hflip,
        "vflip_p": options.vflip,
        "rotate90_p": options.rotate90,
    }
    return CropGroup(
        group.count,
        replace(
            aug,
            jitter=(brightness, contrast, saturation, hue if options.hue is None else options.hue),
            **{name: value for name, value in given.items() if value is not None},
        ),
    )


def _gray(aug: Augmentation) -> Augmentation:
    brightness, contrast, *_ = aug.jitter
    return replace(aug, jitter=(brightness, contrast, 0.0, 0.0), gray_p=0.0)


def _any_way_up(aug: Augmentation) -> Augmentation:
    *strengths, hue = aug.jitter
    jitter = strengths[0], strengths[1], strengths[2], hue / 2
    return replace(aug, vflip_p=0.5, rotate90_p=1.0, jitter=jitter, gray_p=0.0, solarise_p=0.0)


_STACKS: dict[str, Callable[[Augmentation], Augmentation]] = {
    "photo": lambda aug: aug,
    "gray": _gray,
    "aerial-or-microscope": _any_way_up,
}
