"""Train image encoders without labels, watch them learn and choose a checkpoint, as an MLflow Project."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sslmlflow.tracking.milestones import Milestone, load_milestone

__all__ = ["Milestone", "load_milestone"]


def __getattr__(name: str) -> Any:
    # Imported when first asked for: `sslmlflow --help` shall not wait for torch and mlflow.
    if name in __all__:
        from sslmlflow.tracking import milestones

        return getattr(milestones, name)
    raise AttributeError(f"module {__name__} has no attribute {name}")
