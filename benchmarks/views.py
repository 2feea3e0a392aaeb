"""Views per second of the batched augmentation and of torchvision's pipeline, image by image, in one run.

    python benchmarks/views.py [--threads 2] [--repeats 15] [--json views.json]

Both make two views of 256 images of 32 x 32 pixels, normalised float32. The two take turns; the numbers are
medians over the repeats. torchvision's pipeline is measured on PIL images, as data loaders run it, and on
uint8 tensors, with one process each; a loader with k workers is at most k times as fast.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torchvision import transforms
from torchvision.transforms.functional import to_pil_image

from sslmlflow.data.augmentation import Augmentation, CropGroup
from sslmlflow.data.views import make_crops

IMAGES, SIZE, VIEWS = 256, 32, 2


def torchvision_pipeline(aug: Augmentation, channels: int) -> transforms.Compose:
    """The same augmentations by torchvision, for one PIL image or uint8 tensor."""
    return transforms.Compose(
        [
            transforms.RandomResizedCrop(aug.size, aug.scale, aug.ratio, antialias=True),
            transforms.RandomHorizontalFlip(aug.flip_p),
            transforms.RandomApply([transforms.ColorJitter(*aug.jitter)], aug.jitter_p),
            *([transforms.RandomGrayscale(aug.gray_p)] if channels == 3 else []),
            transforms.Lambda(lambda x: x if isinstance(x, Tensor) else transforms.functional.pil_to_tensor(x)),
            transforms.ConvertImageDtype(torch.float32),
            transforms.Normalize([0.5] * channels, [0.25] * channels),
        ]
    )


def contestants(channels: int) -> dict[str, Callable[[], Tensor]]:
    """Functions that each make one batch of views, by name."""
    aug = Augmentation(SIZE)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (IMAGES, channels, SIZE, SIZE), dtype=torch.uint8, generator=generator)
    pil_images = [to_pil_image(image) for image in images]
    mean, std = torch.full((channels,), 0.5), torch.full((channels,), 0.25)
    pipeline = torchvision_pipeline(aug, channels)
    return {
        "sslmlflow, batch": lambda: make_crops(images, (CropGroup(VIEWS, aug),), mean, std, generator)[0][0],
        "torchvision, PIL": lambda: torch.stack([pipeline(x) for _ in range(VIEWS) for x in pil_images]),
        "torchvision, tensor": lambda: torch.stack([pipeline(x) for _ in range(VIEWS) for x in images]),
    }


def measure(functions: dict[str, Callable[[], Tensor]], repeats: int) -> dict[str, float]:
    """Return the median views per second of each function; they take turns, so that all meet the same load."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for function in functions.values():
        function()
    for _ in range(repeats):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - start)
    return {name: VIEWS * IMAGES / statistics.median(values) for name, values in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", type=Path, help="write the results to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    results = {"torch": torch.__version__, "threads": arguments.threads, "repeats": arguments.repeats}
    print(f"{'images':8}{'pipeline':24}{'views/s':>10}{'ours / theirs':>16}")
    for kind, channels in (("colour", 3), ("grey", 1)):
        rates = measure(contestants(channels), arguments.repeats)
        ours = rates["sslmlflow, batch"]
        for name, rate in rates.items():
            print(f"{kind:8}{name:24}{rate:10,.0f}{ours / rate:16.1f}")
        results[kind] = {name: {"views_per_s": rate, "ratio": ours / rate} for name, rate in rates.items()}
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
