"""A program that saves a checkpoint of 60 MB after another, and says which are whole."""

from collections.abc import Sequence
from itertools import count
from pathlib import Path

import torch

from sslmlflow.training.checkpoint import save_checkpoint

NUMBERS = 15_000_000


def main(arguments: Sequence[str]) -> int:
    """Save into the folder, from the given step on, until killed."""
    folder, first = Path(arguments[0]), int(arguments[1])
    for step in count(first):
        save_checkpoint(folder, step, {"weight": torch.full((NUMBERS,), float(step))}, {})
        print(f"saved {step}", flush=True)
    return 0
