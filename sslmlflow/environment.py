"""What the command line sets for the libraries that it is about to load; `import sslmlflow` sets nothing.

These read their environment once, while they are loaded. What the user has set is left as it is.
"""

import os
from pathlib import Path

from sslmlflow.home import home

WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")  # GNU's OpenMP reads the first two, Intel's all
# Folder in SSLMLFLOW_HOME by variable: what numba, inductor and Triton compile, and matplotlib's settings and fonts.
WRITTEN = {
    "NUMBA_CACHE_DIR": "compiled/numba",
    "TORCHINDUCTOR_CACHE_DIR": "compiled/inductor",
    "TRITON_CACHE_DIR": "compiled/triton",
    "MPLCONFIGDIR": "matplotlib",
}
# The same of downloaded weights, with their usual place: a read-only one that holds some is still read.
DOWNLOADED = {"TORCH_HOME": ("torch", "torch"), "HF_HOME": ("huggingface", "huggingface")}


def prepare_environment() -> None:
    """Let waiting threads sleep, and give the libraries a place to write where the user's own cannot be written.

    Raises:
        UserError: SSLMLFLOW_HOME is needed for that and cannot be written either.
    """
    # A spinning thread takes the processor from the one that it waits for, if others work on the machine too.
    if not any(name in os.environ for name in WAITING):
        os.environ["OMP_WAIT_POLICY"] = "passive"
    cache, settings = _users("XDG_CACHE_HOME", ".cache"), _users("XDG_CONFIG_HOME", ".config")
    if _can_be_written(cache) and _can_be_written(settings):
        return
    for name, folder in WRITTEN.items():
        _set(name, home() / folder)
    for name, (folder, usual) in DOWNLOADED.items():
        if not os.path.isdir(cache / usual):
            _set(name, home() / folder)


def _users(variable: str, below_home: str) -> Path:
    given = os.environ.get(variable)
    return Path(given) if given else Path(os.path.expanduser("~"), below_home)


def _can_be_written(folder: Path) -> bool:
    """Whether a folder is writable, or can be made; without a home its path begins with a tilde."""
    if not folder.is_absolute():
        return False
    there = next(place for place in (folder, *folder.parents) if os.path.exists(place))
    return os.path.isdir(there) and os.access(there, os.W_OK | os.X_OK)


def _set(name: str, folder: Path) -> None:
    if name not in os.environ:
        folder.mkdir(parents=True, exist_ok=True)
        os.environ[name] = str(folder)
