"""What `evaluate` measures on: the images that were held out, and no others."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import Command


def _draw_images(folder: Path, count: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    for name, level in (("dark", 40), ("bright", 160)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            pixels = random.integers(level, level + 60, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{seed}-{i}.png")


@pytest.mark.slow
def test_a_folder_that_grew_is_refused(sslmlflow: Command, tmp_path: Path) -> None:
    images = tmp_path / "images"
    _draw_images(images, 40, seed=0)
    small = ["--width=4", "--batch_size=16", "--epochs=1", "--monitor_images=8"]
    assert sslmlflow("pretrain", "--dataset=folder", f"--data_dir={images}", *small).returncode == 0
    done = sslmlflow("evaluate", "--probe=plain", "--max_train_images=40")
    assert done.returncode == 0, done.stderr
    assert "linear probe" in done.stdout

    _draw_images(images, 5, seed=1)
    refused = sslmlflow("evaluate", "--probe=plain", "--evaluation_seed=1")
    assert refused.returncode == 1
    assert "the training images are not those that milestone" in refused.stderr
    assert "Traceback" not in refused.stderr
