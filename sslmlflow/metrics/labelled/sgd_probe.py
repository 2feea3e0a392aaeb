"""The linear probe of the UMM paper: stochastic gradient descent on embeddings that are made once."""

from typing import NamedTuple

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from sslmlflow.metrics.labelled.inputs import check_part, check_widths
from sslmlflow.metrics.unlabelled.arrays import Array

FIRST_LR, LAST_LR = 1e-2, 1e-6


class Accuracies(NamedTuple):
    """How often the class is the most likely one, and one of the five most likely; in [0, 1].

    With five classes or fewer the latter is always 1.
    """

    top1: float
    top5: float


def sgd_probe(
    train_Z: Array, train_y: Array, test_Z: Array, test_y: Array, *, epochs: int = 500, batch: int = 256, seed: int = 0
) -> Accuracies:
    """Accuracies on the test part of a linear layer trained by SGD with momentum 0.9.

    train_Z, test_Z: (n, d) embeddings, taken as they are, so that the accuracy depends on their scale; train_y, test_y:
    n class labels. The learning rate falls exponentially from 0.01 to 0.000001 over the epochs. Draws from a
    generator of its own. Raises ValueError for misshapen or non-finite input, for fewer than two training
    classes, epochs or batch below 1, and when training diverges.

    Source: Qiang et al., "On the Generalization and Causal Explanation in Self-Supervised Learning", section 6.1: 500
    epochs, batch size 256; its learning rates are not legible in the text we have, and are our decision.
    """
    if epochs < 1 or batch < 1:
        raise ValueError(f"epochs and batch must be at least 1, got {epochs} and {batch}")
    train, train_labels = check_part(train_Z, train_y, "train_Z", "train_y")
    test, test_labels = check_part(test_Z, test_y, "test_Z", "test_y")
    check_widths(train, test)
    classes, index = np.unique(train_labels, return_inverse=True)
    if len(classes) < 2:
        raise ValueError("a probe needs training labels of at least two classes")
    generator = torch.Generator().manual_seed(seed)
    embeddings, targets = train.detach().float(), torch.from_numpy(index).to(train.device)
    with torch.inference_mode(False), torch.enable_grad():
        layer = torch.zeros(len(classes), embeddings.shape[1] + 1, device=embeddings.device, requires_grad=True)
        optimiser = torch.optim.SGD([layer], lr=FIRST_LR, momentum=0.9)
        for epoch in range(epochs):
            optimiser.param_groups[0]["lr"] = FIRST_LR * (LAST_LR / FIRST_LR) ** (epoch / max(1, epochs - 1))
            for rows in torch.split(torch.randperm(len(embeddings), generator=generator).to(embeddings.device), batch):
                logits = embeddings[rows] @ layer[:, :-1].T + layer[:, -1]
                optimiser.zero_grad()
                cross_entropy(logits, targets[rows]).backward()  # type: ignore[no-untyped-call]
                optimiser.step()
    logits = test.float().to(layer.device) @ layer.detach()[:, :-1].T + layer.detach()[:, -1]
    if not bool(torch.isfinite(logits).all()):
        raise ValueError("the probe diverged: standardise the embeddings")
    found = classes[logits.topk(min(5, len(classes)), dim=1).indices.numpy(force=True)] == test_labels[:, None]
    return Accuracies(float(found[:, 0].mean()), float(found.any(1).mean()))
