"""Recipes that several methods share."""

from typing import Any

from sslmlflow.methods.base import Recipe


def monitoring_recipe(epochs: int, lr: float, weight_decay: float) -> Recipe:
    """That of label-free monitoring (Xu et al., III-B): SGD, one cycle, all parameters decay."""
    return Recipe(epochs, lr, weight_decay, decay_all=True)


def small_images_recipe(lr: float, weight_decay: float, **changes: Any) -> Recipe:
    """That of solo-learn for CIFAR: LARS for a batch of 256, warm-up and half a cosine, 1,000 epochs.

    Source: its scripts for pretraining on CIFAR-10 (MIT), as of November 2026.
    """
    how = {"schedule": "warmup-cosine", "lr_batch": 256, "optimiser": "lars", "trust": 0.02, "trust_clip": True}
    return Recipe(1000, lr, weight_decay, **{**how, **changes})
