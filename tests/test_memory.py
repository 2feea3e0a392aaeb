"""The peak of a stretch of work is its own."""

import numpy as np
import torch

from sslmlflow.memory import peak_mb, start_peak

CPU = torch.device("cpu")


def test_a_peak_is_forgotten_when_another_stretch_begins() -> None:
    start_peak(CPU)
    before = peak_mb(CPU)
    assert before is not None
    large = np.ones(30_000_000)
    during = peak_mb(CPU)
    assert during is not None
    assert 200 < during - before < 300  # 240 MB
    del large
    still = peak_mb(CPU)
    assert still is not None
    assert abs(still - during) < 5  # the kernel counts pages by batches
    start_peak(CPU)
    after = peak_mb(CPU)
    assert after is not None
    assert after < during - 200
