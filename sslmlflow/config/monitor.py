"""On what every milestone is measured at once."""

from dataclasses import dataclass

from sslmlflow.config.options import option


@dataclass(frozen=True)
class MonitorOptions:
    """Monitoring"""

    monitor_images: int = option(2000, "held-out images on which every milestone is measured at once", minimum=4)
    eps: float = option(0.5, "distortion of the coding rate (not squared)", above=0)
