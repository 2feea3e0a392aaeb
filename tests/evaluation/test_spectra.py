"""Singular values by part of the network, against NumPy on what each part makes of the embeddings."""

import numpy as np
import pytest
import torch
from torch import nn

from sslmlflow.encoders import EncoderSpec, build_encoder
from sslmlflow.evaluation.spectra import spectra
from sslmlflow.methods import build_method
from sslmlflow.milestone.milestone import Milestone

SPEC = {"name": "resnet18", "stem": "cifar", "width": 4, "image_size": 32}


@pytest.mark.parametrize(
    ("method", "options", "parts"),
    [
        ("simsiam", "projection_width=16,bottleneck_width=8", ["encoder", "projector", "predictor"]),
        ("simclr", "hidden_width=16,projection_width=8", ["encoder", "projector"]),
    ],
)
def test_each_part_gets_what_the_one_before_it_makes(method: str, options: str, parts: list[str]) -> None:
    built = build_method(method, options, build_encoder(EncoderSpec(**SPEC), seed=3), seed=3).eval()
    heads = {name: tensor for name, tensor in built.state_dict().items() if not name.startswith("encoder.")}
    about = {"encoder": SPEC, "method": method, "method_options": options}
    milestone = Milestone(built.encoder, None, 0, about, heads)  # type: ignore[arg-type]
    last = torch.randn(40, 32, generator=torch.Generator().manual_seed(0))

    found = spectra(milestone, last)
    assert list(found) == parts
    outputs = last
    for part in parts:
        if part != "encoder":
            head: nn.Module = getattr(built, part)
            with torch.no_grad():
                outputs = head(outputs)
        centred = outputs.double().numpy() - outputs.double().numpy().mean(0)
        expected = np.linalg.svd(centred, compute_uv=False) / np.sqrt(40)
        assert found[part] == pytest.approx(expected, rel=1e-4, abs=1e-6)
