"""Where and how precisely to compute."""

import pytest
import torch

from sslmlflow.errors import ConfigError
from sslmlflow.training.device import choose_machine

HAS_ACCELERATOR = torch.cuda.is_available() or torch.backends.mps.is_available()


@pytest.mark.skipif(HAS_ACCELERATOR, reason="this machine has an accelerator")
def test_auto_is_the_cpu_where_there_is_nothing_else() -> None:
    assert choose_machine("auto", "float32").device == torch.device("cpu")


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "CPU", "", "meta", "hpu", "cpu cpu", "cuda:-1"])
def test_a_device_that_is_not_there_is_refused(device: str) -> None:
    with pytest.raises(ConfigError, match=f"device={device} is not to be had here. Allowed: auto, cpu"):
        choose_machine(device, "auto")


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bf16", torch.bfloat16)])
def test_products_are_computed_in_the_precision_that_was_asked_for(precision: str, dtype: torch.dtype) -> None:
    machine = choose_machine("cpu", precision)
    assert machine.precision == precision
    with machine.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype
    assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def test_auto_precision_is_settled() -> None:
    assert choose_machine("cpu", "auto").precision in ("float32", "bf16")
