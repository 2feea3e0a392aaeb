"""A sweep over torchvision models where no published weights can be had: with weights trained here, named as that.

Each model is trained with labels on images of a folder (a copy of CIFAR-10 as JPEG: `train/` and `test/` with a folder
a class), upscaled to 64 pixels, epoch by epoch until it classifies over 40 % of held-out images and at least `--epochs`
times. Its weights are put where torch caches published ones, and `sslmlflow sweep` takes them from there: set
TORCH_HOME, MLFLOW_TRACKING_URI and SSLMLFLOW_HOME to folders of your own. Started again, it goes on where it was.
"""

import argparse
import os
from pathlib import Path

import numpy as np
import torch
import torchvision
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate

from benchmarks.runs import sslmlflow
from sslmlflow.data import open_images, open_labels
from sslmlflow.data.opening import cache_folder
from sslmlflow.data.source import DatasetSpec
from sslmlflow.encoders.pretrained import published_weights

MODELS = ("resnet18", "resnet34", "resnet50", "efficientnet_b0", "efficientnet_b1", "efficientnet_b2", "densenet121")
SIZE, BATCH, ENOUGH, PATIENCE = 64, 64, 0.40, 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", required=True, help="folder with train/ and test/")
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--epochs", type=int, default=3, help="at least so many")
    parser.add_argument("--train_images", type=int, default=10_000)
    arguments = parser.parse_args()
    if "TORCH_HOME" not in os.environ:
        parser.error("set TORCH_HOME to a folder of your own: weights trained here would pass for published ones")
    spec = DatasetSpec("folder", Path(arguments.data_dir), False, 32, max_train=arguments.train_images, max_test=1000)
    for name in arguments.models:
        file = Path(torch.hub.get_dir()) / "checkpoints" / published_weights(name).url.rpartition("/")[2]
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            torch.save(trained(name, spec, arguments.epochs).state_dict(), file)
    sets = ("--dataset=folder", f"--data_dir={arguments.data_dir}", "--max_train_images=5000", "--max_test_images=2000")
    how = (f"--image_size={SIZE}", "--probe=plain", "--resume=auto")
    sslmlflow("sweep", f"--models={','.join(arguments.models)}", *sets, *how)


def trained(name: str, spec: DatasetSpec, epochs: int) -> nn.Module:
    """A model with the head of a published one, of which ten outputs are used."""
    sets, labels = open_images(spec, cache_folder()), open_labels(spec, cache_folder())
    assert labels is not None
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None).to(memory_format=torch.channels_last)
    transform = published_weights(name).transforms()
    mean, std = (torch.tensor(values)[:, None, None] for values in (transform.mean, transform.std))

    def prepared(pixels: np.ndarray) -> Tensor:
        scaled = interpolate(torch.from_numpy(pixels).float() / 255, (SIZE, SIZE), mode="bilinear", antialias=True)
        return ((scaled - mean) / std).contiguous(memory_format=torch.channels_last)

    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    bf16 = torch.autocast("cpu", torch.bfloat16, enabled=torch.cpu._is_avx512_bf16_supported())
    for epoch in range(1, PATIENCE + 1):
        model.train()
        for batch in np.array_split(
            np.random.default_rng(epoch).permutation(len(sets.train)), len(sets.train) // BATCH
        ):
            images = prepared(sets.train.read(np.sort(batch)))
            flipped = torch.where(torch.rand(len(images), 1, 1, 1) < 0.5, images.flip(3), images)
            with bf16:
                logits = model(flipped)
            optimiser.zero_grad()
            cross_entropy(logits.float(), torch.from_numpy(labels.train[np.sort(batch)])).backward()
            optimiser.step()
        model.eval()
        with torch.no_grad(), bf16:
            blocks = np.array_split(np.arange(len(sets.test)), 10)
            found = torch.cat([model(prepared(sets.test.read(block))).argmax(1) for block in blocks])
        accuracy = (found.numpy() == labels.test).mean()
        print(f"{name}, epoch {epoch}: {accuracy:.1%} of {len(found)} held-out images", flush=True)
        if epoch >= epochs and accuracy > ENOUGH:
            break
    return model


if __name__ == "__main__":
    main()
