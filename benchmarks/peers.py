"""SimCLR's whole loop beside lightly's and stable-pretraining's: same encoder, images, views and batch, in one run.

Needs `pip install stable-pretraining` (lightly comes with `.[dev]`), best in an environment of its own. lightly's side
is the plain loop over a DataLoader that its examples show; stable-pretraining's is Lightning's trainer. Both make views
by torchvision, image by image, in worker processes. The sides take turns; images per second of the median turn, and the
ratio of ours to theirs in brackets.
"""

import argparse
import json
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.datasets import ImageFolder

from benchmarks.loop import make_images
from sslmlflow.config.pretrain import Pretrain
from sslmlflow.encoders import build_encoder
from sslmlflow.encoders.encoder import EncoderSpec
from sslmlflow.methods.heads import Head
from sslmlflow.runs.pretraining import prepare
from sslmlflow.training.loop import Steps, train

IMAGES, SIZE = 4096, 32
SGD = {"lr": 0.03, "momentum": 0.9, "weight_decay": 5e-4}
JITTER = (0.4, 0.4, 0.4, 0.1)
CROP, JITTER_P = (0.2, 1.0), 0.8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--precisions", nargs="+", choices=("float32", "bf16"), default=["float32"])
    parser.add_argument("--batch_size", type=int, default=256)
    parser.add_argument("--workers", type=int, default=2, help="processes that make views, of the others")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4, help="steps in a turn that are counted")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    rows = []
    print(f"{'width':>5}  {'precision':>9}  {'ours':>7}  {'lightly':>15}  {'stable-pretraining':>18}")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "all").mkdir()
        make_images(Path(folder) / "all", IMAGES)
        for width in arguments.widths:
            for precision in arguments.precisions:
                rows.append(row := measure(folder, width, precision, arguments))
                theirs = (f"{row[name]:,.0f} ({row['ours'] / row[name]:.2f})" for name in ("lightly", "stable"))
                print(
                    f"{width:5}  {precision:>9}  {row['ours']:7,.0f}  {next(theirs):>15}  {next(theirs):>18}",
                    flush=True,
                )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2))


def measure(folder: str, width: int, precision: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Images per second of each side."""
    side = Side(folder, width, precision, arguments.batch_size, arguments.workers)
    sides = {"ours": ours, "lightly": with_lightly, "stable": with_stable_pretraining}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(arguments.turns):
        for name, steps in sides.items():
            seconds[name].append(steps(side, arguments.steps))
    rates = {name: arguments.batch_size / statistics.median(took) for name, took in seconds.items()}
    return {"width": width, "precision": precision, "batch_size": arguments.batch_size, **rates}


@dataclass(frozen=True)
class Side:
    """What all sides are given."""

    folder: str
    width: int
    precision: str
    batch_size: int
    workers: int

    @property
    def uncounted(self) -> int:
        """Steps at the start: those whose batches a loader makes in advance, and one."""
        return 2 * self.workers + 1

    def parts(self) -> tuple[nn.Module, nn.Module]:
        """The encoder, in memory as ours is, and the projector."""
        encoder = build_encoder(EncoderSpec(width=self.width, image_size=SIZE), seed=0)
        return ChannelsLast(encoder), Head(encoder.embedding_width, 2048, 128)

    def loader(self, images: Dataset[Any]) -> DataLoader[Any]:
        return DataLoader(images, self.batch_size, shuffle=True, drop_last=True, num_workers=self.workers)


def seconds_per_step(side: Side, steps: Generator[Any, None, None], count: int) -> float:
    for _ in range(side.uncounted):
        next(steps)
    started = time.perf_counter()
    for _ in range(count):
        next(steps)
    took = time.perf_counter() - started
    steps.close()
    return took / count


def ours(side: Side, count: int) -> float:
    training = prepare(
        Pretrain(
            method="simclr",
            dataset="folder",
            data_dir=side.folder,
            width=side.width,
            batch_size=side.batch_size,
            device="cpu",
            precision=side.precision,
            crop_scale=CROP[0],
            epochs=10**4,
            milestone_every=10**4,
        )
    )
    events = train(training.start(), training.batches, training.plan, training.machine)
    steps = (step for event in events if isinstance(event, Steps) for step in event.steps)
    return seconds_per_step(side, steps, count)


class ChannelsLast(nn.Module):
    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        embeddings: Tensor = self.encoder(images.contiguous(memory_format=torch.channels_last))
        return embeddings


def with_lightly(side: Side, count: int) -> float:
    return seconds_per_step(side, lightly_steps(side), count)


def lightly_steps(side: Side) -> Generator[None, None, None]:
    from lightly.loss import NTXentLoss
    from lightly.transforms import SimCLRTransform

    views = SimCLRTransform(SIZE, cj_prob=JITTER_P, cj_strength=0.5, min_scale=CROP[0], gaussian_blur=0.0)
    loader = side.loader(ImageFolder(side.folder, transform=views))
    model = nn.Sequential(*side.parts()).train()
    optimizer = torch.optim.SGD(model.parameters(), **SGD)
    criterion = NTXentLoss(temperature=0.5)
    while True:
        for (first, second), _ in loader:
            with torch.autocast("cpu", torch.bfloat16, enabled=side.precision == "bf16"):
                loss = criterion(model(first), model(second))
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            yield


def with_stable_pretraining(side: Side, count: int) -> float:
    import stable_pretraining as spt
    from stable_pretraining import forward
    from stable_pretraining.data import transforms

    view = transforms.Compose(
        transforms.RGB(),
        transforms.RandomResizedCrop((SIZE, SIZE), scale=CROP),
        transforms.RandomHorizontalFlip(p=0.5),
        transforms.ColorJitter(*JITTER, p=JITTER_P),
        transforms.RandomGrayscale(p=0.2),
        transforms.ToImage(mean=[0.5] * 3, std=[0.25] * 3),
    )
    images = spt.data.FromTorchDataset(
        ImageFolder(side.folder), names=["image", "label"], transform=transforms.MultiViewTransform([view, view])
    )
    encoder, projector = side.parts()
    loader = side.loader(images)
    module = spt.Module(
        backbone=encoder,
        projector=projector,
        forward=forward.simclr,
        simclr_loss=spt.losses.NTXEntLoss(temperature=0.5),
        optim={"optimizer": {"type": "SGD", **SGD}, "scheduler": "ConstantLR"},
    )

    clock = Clock()
    trainer = lightning.Trainer(
        max_steps=side.uncounted + count,
        max_epochs=-1,
        accelerator="cpu",
        precision="bf16-mixed" if side.precision == "bf16" else "32-true",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[clock],
    )
    trainer.fit(module, loader)
    return (clock.ends[-1] - clock.ends[-1 - count]) / count


class Clock(Callback):
    """When each step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(self, *_: Any) -> None:
        self.ends.append(time.perf_counter())


if __name__ == "__main__":
    main()
