"""Where and how precisely to compute."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import nn

from sslmlflow.errors import ConfigError


@dataclass(frozen=True)
class Machine:
    """The device and the precision in use."""

    device: torch.device
    precision: str

    def autocast(self) -> AbstractContextManager[object]:
        """Matrix products and convolutions in bf16 if that is the precision, else nothing."""
        if self.precision == "bf16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()


def memory_format(model: nn.Module, device: torch.device) -> torch.memory_format:
    """The faster layout of images and weights, channels_last, wherever it is safe.

    On x86 processors, oneDNN's gradient of a strided 1 x 1 convolution with fewer input channels than fit
    into a vector writes past its workspace in that layout (oneDNN issue 6035): very narrow ResNets on the CPU
    go without.
    """
    vector = 16 if torch.backends.cpu.get_cpu_capability() == "AVX512" else 8
    overruns = any(
        isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1) and m.stride != (1, 1) and m.in_channels < vector
        for m in model.modules()
    )
    return torch.contiguous_format if device.type == "cpu" and overruns else torch.channels_last


def choose_machine(device: str, precision: str) -> Machine:
    """Resolve `auto`; ConfigError for a device that this machine does not have."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        chosen = torch.device(device)
        torch.zeros(1, device=chosen).item()  # the item is what `meta`, a device without memory, cannot give
    except (RuntimeError, AssertionError, ImportError) as error:
        have = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        raise ConfigError(f"device={device} is not to be had here. Allowed: auto, {', '.join(have)}.") from error
    if precision == "auto":
        precision = "bf16" if _has_bf16(chosen) else "float32"
    return Machine(chosen, precision)


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # Emulated bf16 is slower than float32 on processors without the instructions.
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())
