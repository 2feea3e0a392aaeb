"""Train image encoders without labels, watch them learn and choose a checkpoint, as an MLflow Project."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sslmlflow.milestone.milestone import Milestone
    from sslmlflow.tracking.logged_models import load_milestone

__all__ = ["Milestone", "load_milestone"]

_MODULES = {"Milestone": "sslmlflow.milestone.milestone", "load_milestone": "sslmlflow.tracking.logged_models"}


def __getattr__(name: str) -> Any:
    # Imported when first asked for: `sslmlflow --help` shall not wait for torch and mlflow.
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__} has no attribute {name}")
