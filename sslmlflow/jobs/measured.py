"""What measuring a milestone gave."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from sslmlflow.measures import MEASURES
from sslmlflow.metrics.failures import FAILURES, why


@dataclass(frozen=True)
class Measured:
    """Metric values and seconds by name, and for every metric that has no value the reason why."""

    values: dict[str, float] = field(default_factory=dict)
    undefined: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, metric: Callable[[], float]) -> None:
        """Measure one metric and its seconds; what it fails of is told, not raised: the others are measured."""
        started = time.perf_counter()
        try:
            self.values[name] = metric()
        except FAILURES as error:
            self.undefined[name] = why(error)
        self.time(name.replace("labelled/", "").replace("label_free/", ""), started)

    def time(self, name: str, started: float) -> None:
        """Note the seconds since `started`, a reading of `time.perf_counter`."""
        self.values[f"time/{name}_s"] = time.perf_counter() - started

    def told(self) -> list[str]:
        """Every measure that was tried, in words."""
        told = []
        for key, measure in MEASURES.items():
            if key in self.values:
                told.append(f"{measure.name} {measure.told(self.values[key])}")
            elif key in self.undefined:
                told.append(f"{measure.name} undefined ({self.undefined[key]})")
        return told
