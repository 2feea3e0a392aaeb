"""What measuring a milestone gave."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sslmlflow.metrics.catalogue import MEASURES
from sslmlflow.metrics.failures import FAILURES, why


@dataclass(frozen=True)
class Measured:
    """Metric values and seconds by name, and for every metric that has no value the reason why."""

    values: dict[str, float] = field(default_factory=dict)
    undefined: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, metric: Callable[[], float]) -> None:
        """Measure one metric and its seconds; what it fails of is told, not raised: the others are measured."""
        self.add_several((name,), lambda: (metric(),))

    def add_several(self, names: Sequence[str], metrics: Callable[[], Sequence[float]]) -> None:
        """Likewise, metrics that come from one computation; its seconds are under the first one's name."""
        started = time.perf_counter()
        try:
            self.values.update(zip(names, metrics(), strict=True))
        except FAILURES as error:
            self.undefined.update(dict.fromkeys(names, why(error)))
        self.time(names[0].replace("labelled/", "").replace("label_free/", ""), started)

    def time(self, name: str, started: float) -> None:
        """Note the seconds since `started`, a reading of `time.perf_counter`."""
        self.values[f"time/{name}_s"] = time.perf_counter() - started

    def told(self) -> list[str]:
        """Every measure that was tried, in words."""
        told = []
        for key, measure in MEASURES.items():
            if key in self.values:
                told.append(f"{measure.name} {measure.formatted(self.values[key])}")
            elif key in self.undefined:
                told.append(f"{measure.name} undefined ({self.undefined[key]})")
        return told
