"""Singular values of what a method's encoder, projector and predictor make of the held-out images."""

import torch
from torch import Tensor

from sslmlflow.metrics.unlabelled.spectrum import singular_value_spectrum
from sslmlflow.milestone.milestone import Milestone, load_method

HEADS = ("projector", "predictor")  # in the order in which embeddings pass through them


@torch.no_grad()
def spectra(milestone: Milestone, last: Tensor) -> dict[str, list[float]]:
    """Singular values, largest first, by part of the network; `last` are the embeddings (n, d).

    Dimensional collapse (arXiv 2110.09348) shows as a fall to nothing within the spectrum.
    """
    heads = dict(load_method(milestone)[0].eval().named_children()) if milestone.about["method"] else {}
    outputs, parts = last, {"encoder": last}
    for name in HEADS:
        if name in heads:
            outputs = parts[name] = heads[name](outputs)
    return {name: singular_value_spectrum(part).tolist() for name, part in parts.items() if part.isfinite().all()}
