"""Linear probes: how well a linear classifier on frozen embeddings predicts the labels."""

from collections.abc import Callable
from math import ceil

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.nn.functional import cross_entropy

from sslmlflow.metrics.labelled.inputs import check_labels, check_part, check_widths
from sslmlflow.metrics.unlabelled.arrays import Array, as_matrix, rescaled, to_float64


def standardised_probe(train_Z: Array, train_y: Array, test_Z: Array, test_y: Array) -> float:
    """Accuracy in [0, 1] on the test part of multinomial logistic regression on standardised features.

    train_Z, test_Z: (n, d) embeddings; train_y, test_y: n class labels. Features are standardised with the mean and
    deviation of the training part (constant ones are only centred), so unlike `paper_probe` the accuracy does not
    depend on the scale of the embeddings. Fitted by L-BFGS, L2 penalty with C = 1, up to 1,000 iterations; no
    randomness. Raises ValueError for misshapen or non-finite input and for fewer than two training classes.
    """
    train, train_labels = check_part(train_Z, train_y, "train_Z", "train_y")
    test, test_labels = check_part(test_Z, test_y, "test_Z", "test_y")
    check_widths(train, test)
    if len(np.unique(train_labels)) < 2:
        raise ValueError("a probe needs training labels of at least two classes")
    train, scale = rescaled(train, "train_Z")
    scaler = StandardScaler().fit(train.numpy(force=True))
    model = LogisticRegression(max_iter=1000).fit(scaler.transform(train.numpy(force=True)), train_labels)
    predicted = model.predict(scaler.transform((to_float64(test) / (scale or 1.0)).numpy(force=True)))
    return float(np.mean(predicted == test_labels))


def paper_probe(
    draw_embeddings: Callable[[int], Tensor],
    train_y: Array,
    test_Z: Array,
    test_y: Array,
    *,
    epochs: int = 20,
    peak_lr: float = 0.08,
    weight_decay: float = 1e-4,
    batch_size: int = 256,
    seed: int = 0,
) -> float:
    """Accuracy in [0, 1] on the test part of a linear layer trained with Adam on raw, augmented embeddings.

    draw_embeddings(epoch) gives the (n, d) embeddings of the n training images, augmented afresh, on the device to
    train on; train_y their class labels. One-cycle learning rate with the peak `peak_lr`, first Adam beta cycled
    between 0.95 and 0.85, L2 weight decay inside Adam. The batch size is not printed in the paper. Draws from a
    generator of its own, never from the global one. Raises ValueError for misshapen or non-finite input, for fewer
    than two training classes, epochs or batch_size below 1, and when training diverges.

    Source: Xu, Lowe and Trappenberg 2024, "Label-free Monitoring of Self-Supervised Learning Progress", section
    III-E (peak 0.08 for encoders trained there, 0.003 for pre-trained ones).
    """
    if epochs < 1 or batch_size < 1:
        raise ValueError(f"epochs and batch_size must be at least 1, got {epochs} and {batch_size}")
    classes, train_index = np.unique(check_labels(train_y, "train_y"), return_inverse=True)
    if len(classes) < 2:
        raise ValueError("a probe needs training labels of at least two classes")
    test, test_labels = check_part(test_Z, test_y, "test_Z", "test_y")
    targets = torch.from_numpy(train_index)

    def draw(epoch: int) -> Tensor:
        with torch.no_grad():
            return _check_draw(draw_embeddings(epoch), len(targets), test.shape[1], epoch)

    # A caller's no_grad or inference mode, right for making embeddings, would stop the probe from learning.
    with torch.inference_mode(False), torch.enable_grad():
        layer = _fit(draw, targets, len(classes), epochs, peak_lr, weight_decay, batch_size, seed)
    logits = test.float().to(layer.device) @ layer[:, :-1].T + layer[:, -1]
    if not bool(torch.isfinite(logits).all()):
        raise ValueError(f"the probe diverged: lower peak_lr (got {peak_lr}) or standardise the embeddings")
    predicted = classes[logits.argmax(1).numpy(force=True)]
    return float(np.mean(predicted == test_labels))


def _fit(
    draw: Callable[[int], Tensor],
    targets: Tensor,
    classes: int,
    epochs: int,
    peak_lr: float,
    weight_decay: float,
    batch_size: int,
    seed: int,
) -> Tensor:
    """Train a linear layer and give its weights, the bias as last column."""
    embeddings = draw(0)
    targets = targets.to(embeddings.device)
    generator = torch.Generator().manual_seed(seed)
    bound = embeddings.shape[1] ** -0.5  # the initialisation of torch.nn.Linear
    layer = torch.empty(classes, embeddings.shape[1] + 1).uniform_(-bound, bound, generator=generator)
    layer = layer.to(embeddings.device).requires_grad_()
    optimiser = torch.optim.Adam([layer], lr=peak_lr, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, peak_lr, epochs=epochs, steps_per_epoch=ceil(len(targets) / batch_size)
    )
    for epoch in range(epochs):
        if epoch > 0:
            embeddings = draw(epoch)
        order = torch.randperm(len(targets), generator=generator).to(embeddings.device)
        for batch in torch.split(order, batch_size):
            logits = embeddings[batch] @ layer[:, :-1].T + layer[:, -1]
            optimiser.zero_grad()
            cross_entropy(logits, targets[batch]).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    return layer.detach()


def _check_draw(embeddings: Tensor, n: int, d: int, epoch: int) -> Tensor:
    z = as_matrix(embeddings, f"the training embeddings of epoch {epoch}").float()
    if z.shape != (n, d):
        raise ValueError(f"the training embeddings of epoch {epoch} have shape {tuple(z.shape)}, not {(n, d)}")
    return z
