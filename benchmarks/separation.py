"""How often two encoders are called apart by the adjusted coding rate reduction: paired, and by intervals of each.

    python -m benchmarks.separation [--draws 400] [--json FILE]

Both encoders see the same images. They read the same latent numbers through rotations of their own, so that at a gap
of 0 fresh images would give both the same value, whatever the draw. At other gaps the views of the second differ more
from each other, by as much as lowers its value on 20,000 images by the gap.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from sslmlflow.metrics.unlabelled.adjusted_halves import adjusted_halves
from sslmlflow.metrics.unlabelled.coding_rate import adjusted_mean_and_resolution
from sslmlflow.metrics.unlabelled.halves import Halves, difference

Array = NDArray[np.float64]
MANY = 20_000
GAPS = (0.0, 0.2, 0.4)  # nats


def unit(z: Array) -> Array:
    return z / np.linalg.norm(z, axis=-1, keepdims=True)


def even(latent: Array, unlike: Array, rotation: Array, noise: Array, strength: float) -> Array:
    """Images spread alike in all directions."""
    return unit(latent @ rotation + strength * noise)


def rare(latent: Array, unlike: Array, rotation: Array, noise: Array, strength: float) -> Array:
    """Nine of ten images nearly alike, the same ones for both encoders: what varies is which images one has."""
    alike = np.eye(rotation.shape[1])[0] * rotation.shape[1] ** 0.5 + 0.05 * latent @ rotation
    return unit(np.where(unlike < 0.1, latent @ rotation, alike) + strength * noise)


def uneven(latent: Array, unlike: Array, rotation: Array, noise: Array, strength: float) -> Array:
    """Views of some images differ much more than those of others, of the same ones for both encoders."""
    return unit(latent @ rotation + strength * np.exp(2 * unlike - 1) * noise)


SOURCES: dict[str, tuple[Callable[..., Array], float]] = {
    "even": (even, 0.4),
    "rare": (rare, 0.2),
    "uneven": (uneven, 0.4),
}


def pair(source: str, n: int, d: int, strengths: tuple[float, float], random: np.random.Generator) -> list[Array]:
    """Two views (2, n, d) of the same n images by each of two encoders."""
    make, _ = SOURCES[source]
    latent, unlike = random.normal(size=(n, 2 * d)), random.random((n, 1))
    encoders = []
    for strength in strengths:
        rotation = np.linalg.qr(random.normal(size=(2 * d, d)))[0]
        encoders.append(make(latent, unlike, rotation, random.normal(size=(2, n, d)), strength))
    return encoders


def strength_for(source: str, d: int, gap: float) -> float:
    """The strength of the noise that lowers the value by so much."""
    usual = SOURCES[source][1]
    if not gap:
        return usual

    def value(strength: float) -> float:
        views = pair(source, MANY, d, (strength, strength), np.random.default_rng(0))[0]
        return float(adjusted_mean_and_resolution(views).mean)

    wanted = value(usual) - gap
    return float(brentq(lambda strength: value(strength) - wanted, usual, 10 * usual, xtol=1e-4))


def apart_by_quantiles(first: Halves, second: Halves) -> bool:
    """By the middle 95 % of the paired differences."""
    low, high = np.quantile(np.subtract(first.deviations, second.deviations), [0.025, 0.975])
    return not low <= second.value - first.value <= high


def apart_unpaired(first: Halves, second: Halves) -> bool:
    """By the intervals of each: the middle 95 % of the deviations."""
    (low, high), (other_low, other_high) = (
        one.value + np.quantile(one.deviations, [0.025, 0.975]) for one in (first, second)
    )
    return bool(high < other_low or other_high < low)


def apart_paired(first: Halves, second: Halves) -> bool:
    found = difference(first, second)
    return not found.low <= 0 <= found.high


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--resamples", type=int, default=100)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rules = {"unpaired": apart_unpaired, "paired, quantiles": apart_by_quantiles, "paired": apart_paired}
    rows = []
    for source in SOURCES:
        for gap in GAPS:
            strengths = SOURCES[source][1], strength_for(source, arguments.width, gap)
            random = np.random.default_rng(1)
            counts = dict.fromkeys(rules, 0)
            for _ in range(arguments.draws):
                views = pair(source, arguments.images, arguments.width, strengths, random)
                halves = [adjusted_halves(one, resamples=arguments.resamples) for one in views]
                for name, apart in rules.items():
                    counts[name] += apart(*halves)
            shares = {name: count / arguments.draws for name, count in counts.items()}
            rows.append({"source": source, "gap": gap, **shares})
            print(
                f"{source}, gap {gap}: " + ", ".join(f"{name} {100 * s:.1f} %" for name, s in shares.items()),
                flush=True,
            )
    if arguments.json:
        arguments.json.write_text(json.dumps({**vars(arguments), "json": None, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
