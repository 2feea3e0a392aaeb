"""Singular values of what a method's encoder, projector and predictor make of the held-out images."""

import torch
from torch import Tensor

from sslmlflow.metrics.unlabelled.spectrum import singular_value_spectrum
from sslmlflow.milestone.milestone import Milestone, load_method


@torch.no_grad()
def spectra(milestone: Milestone, last: Tensor) -> dict[str, list[float]]:
    """Singular values, largest first, by part of the network; `last` are the embeddings (n, d).

    Dimensional collapse (arXiv 2110.09348) shows as a fall to nothing within the spectrum.
    """
    outputs, parts = last, {"encoder": last}
    if milestone.about["method"]:
        method = load_method(milestone)[0].eval()
        for path in method.measured_heads:
            outputs = parts[path.rpartition(".")[2]] = method.get_submodule(path)(outputs)
    return {name: singular_value_spectrum(part).tolist() for name, part in parts.items() if part.isfinite().all()}
