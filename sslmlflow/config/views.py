"""Which views of an image a method compares."""

from dataclasses import dataclass

from sslmlflow.config.options import option

STACK_NAMES = ("photo", "gray", "aerial-or-microscope")


@dataclass(frozen=True)
class ViewOptions:
    """Views"""

    augmentation: str = option(
        "photo",
        "photo: the method's own; gray: without what changes colours; aerial-or-microscope: any way up, half the hue, "
        "never gray or solarised",
        choices=STACK_NAMES,
    )
    local_crops: int | None = option(
        None,
        "small views beside the two global ones; auto: 6 where the method has them and images are above 64 px, 8 for "
        "dino with a vision transformer of timm",
        minimum=0,
    )
    crop_scale: float | None = option(
        None, "least share of the image in a global view; auto: the method's", above=0, maximum=1
    )
    jitter: float | None = option(
        None, "strength of the jitter of brightness, contrast and saturation; auto: the method's", minimum=0
    )
    hue: float | None = option(
        None, "strength of the jitter of the hue, in turns; auto: the method's", minimum=0, maximum=0.5
    )
    gray: float | None = option(None, "probability of a gray view; auto: the method's", minimum=0, maximum=1)
    blur: float | None = option(None, "probability of blur; auto: the method's", minimum=0, maximum=1)
    solarise: float | None = option(None, "probability of solarisation; auto: the method's", minimum=0, maximum=1)
    hflip: float | None = option(None, "probability of a horizontal flip; auto: the method's", minimum=0, maximum=1)
    vflip: float | None = option(None, "probability of a vertical flip; auto: the stack's", minimum=0, maximum=1)
    rotate90: float | None = option(
        None, "probability of a rotation by a random multiple of 90 degrees; auto: the stack's", minimum=0, maximum=1
    )
