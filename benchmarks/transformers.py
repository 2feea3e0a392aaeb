"""The results in docs/results/methods/transformers.md: SimCLR and DINO on a tiny ViT and a ResNet-18, in equal time.

Run `python -m benchmarks.transformers --data_dir=FOLDER`; started again, it continues where it was. An epoch of each
gives its speed, and with it how many epochs fit into `--minutes`; `--search` tries the options in TRIED for a quarter
of these. Where MLflow keeps it is set as for `benchmarks.methods`.
"""

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path

from benchmarks.methods import ADAMW, CHOSEN, IMAGES, OPTIONS, train, trained, write
from benchmarks.methods_tables import Cell
from sslmlflow.metrics.catalogue import KNN, STANDARDISED
from sslmlflow.tracking.server import connect

TRAINING = (*IMAGES, "--preset=small", "--batch_size=64")
ENCODERS = {  # about 0.7 million parameters each
    "ResNet-18, width 16": ("--width=16",),
    "ViT, patches of 4 px": (
        "--encoder=timm/vit_tiny_patch16_224",
        "--encoder_options=patch_size=4,embed_dim=96,depth=6,num_heads=6",
    ),
}
RESNET, VIT = ENCODERS
SHARP = "--teacher_temperature_start=0.02", "--teacher_temperature=0.02"
TRIED: dict[tuple[str, str], tuple[tuple[str, ...], ...]] = {
    ("simclr", VIT): (
        (ADAMW, "--lr=0.0003", "--weight_decay=0.05"),
        (ADAMW, "--lr=0.001", "--weight_decay=0.05"),
    ),
    ("dino", VIT): ((), ("--lr=0.0005",), ("--lr=0.0005", *SHARP), ("--lr=0.0005", "--local_crops=0", *SHARP)),
}
# What the search found to be the best, and for the ResNet what `benchmarks.methods` did.
DONE: dict[tuple[str, str], tuple[str, ...]] = {
    ("simclr", RESNET): (),
    ("simclr", VIT): TRIED["simclr", VIT][-1],
    ("dino", RESNET): (*OPTIONS["dino"], *CHOSEN["dino"]),
    ("dino", VIT): TRIED["dino", VIT][-1],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", required=True, help="folder with train/ and test/")
    parser.add_argument("--minutes", type=float, default=15.0, help="of training, without its milestones")
    parser.add_argument("--search", action="store_true", help="try other options for the transformer instead")
    parser.add_argument("--results", type=Path, default=Path("docs/results/methods"))
    arguments = parser.parse_args()
    data = "--dataset=folder", f"--data_dir={arguments.data_dir}"
    tried = TRIED if arguments.search else {case: (more,) for case, more in DONE.items()}
    minutes = arguments.minutes / 4 if arguments.search else arguments.minutes
    found = []
    for (method, encoder), every in tried.items():
        for more in every:
            given = [f"--method={method}", *TRAINING, *ENCODERS[encoder], *more]
            cell = in_time(given, data, minutes)
            values = cell["values"]
            found.append({"encoder": encoder, "minutes": minutes, **cell})
            shown = [f"{key} {100 * values[key][0]:.1f}, {100 * values[key][-1]:.1f}" for key in (STANDARDISED, KNN)]
            print(method, encoder, *more, *shown, flush=True)
    name = "transformers-search" if arguments.search else "transformers"
    write(arguments.results / f"{name}.json", found)


def in_time(given: Sequence[str], data: Sequence[str], minutes: float) -> Cell:
    """Train for as many epochs as fit, with a milestone at the start, in the middle and at the end."""
    seconds = seconds_of([*given, "--epochs=1", "--milestone_every=1"], data)
    epochs = max(round(60 * minutes / seconds), 2)
    return train([*given, f"--epochs={epochs}", f"--milestone_every={(epochs + 1) // 2}"], data)


def seconds_of(given: Sequence[str], data: Sequence[str]) -> float:
    """How long an epoch takes, by the median step."""
    run = trained(given, data)
    speeds = [point.value for point in connect().get_metric_history(run.info.run_id, "train/images_per_s")]
    return 5000 / statistics.median(speeds)


if __name__ == "__main__":
    main()
