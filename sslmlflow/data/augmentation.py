"""What views of an image are made: how each is augmented, and in which groups of a size they come."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Augmentation:
    """How a view is drawn, in the order of SimCLR for CIFAR-10 (Chen et al. 2020, arXiv 2002.05709, appendix B.9).

    Random resized crop, flips, turn, colour jitter of strength 0.5, random grayscale, blur, solarisation; the last two,
    the vertical flip and the turn are off unless they are given.

    Attributes:
        size: Height and width of a view in pixels.
        scale: Range of the area of the crop as a fraction of the image, within (0, 1].
        ratio: Range of width / height of the crop, drawn uniformly in its logarithm.
        jitter: Strengths of brightness, contrast, saturation (each >= 0) and hue (in [0, 0.5] turns).
        jitter_p, gray_p, flip_p: Probabilities.
        vflip_p: Probability of an upside-down view.
        rotate90_p: Probability of a turn by 0, 1, 2 or 3 quarters, each as likely.
        blur_p: Probability of a Gaussian blur of a tenth of the side, its sigma uniform between 0.1 and 2 pixels.
        solarise_p: Probability that pixels above one half are inverted.
    """

    size: int
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.4, 0.1)
    jitter_p: float = 0.8
    gray_p: float = 0.2
    flip_p: float = 0.5
    vflip_p: float = 0.0
    rotate90_p: float = 0.0
    blur_p: float = 0.0
    solarise_p: float = 0.0

    @property
    def draws_more(self) -> bool:
        """Whether any of the parts is on that are off unless they are given."""
        return any((self.vflip_p, self.rotate90_p, self.blur_p, self.solarise_p))

    @property
    def is_fixed(self) -> bool:
        """Whether all views of an image are the same, because nothing is drawn."""
        drawn = self.rotate90_p, self.jitter_p if any(self.jitter) else 0.0, self.blur_p
        chances = self.gray_p, self.flip_p, self.vflip_p, self.solarise_p
        return self.scale == (1.0, 1.0) and not any(drawn) and {0.0, 1.0}.issuperset(chances)

    def as_json(self) -> dict[str, Any]:
        """All that decides the views; what is off by default is left out while it is off, as it was before it came."""
        later = ("vflip_p", "rotate90_p", "blur_p", "solarise_p")
        return {name: value for name, value in asdict(self).items() if name not in later or value}


@dataclass(frozen=True)
class CropGroup:
    """So many views of an image, drawn alike."""

    count: int
    augmentation: Augmentation

    @property
    def size(self) -> int:
        """Height and width of the views in pixels."""
        return self.augmentation.size


Views = tuple[CropGroup, ...]  # of an image; those of the images' own size, the global ones, first
