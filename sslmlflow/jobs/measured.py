"""What measuring a milestone gave."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Measured:
    """Metric values and seconds by name, and for every metric that has no value the reason why."""

    values: dict[str, float] = field(default_factory=dict)
    undefined: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, metric: Callable[[], float]) -> None:
        """Measure one metric and its seconds; embeddings that it cannot be measured on are told, not raised."""
        started = time.perf_counter()
        try:
            self.values[name] = metric()
        except ValueError as error:
            self.undefined[name] = str(error)
        self.time(name.replace("labelled/", "").replace("label_free/", ""), started)

    def time(self, name: str, started: float) -> None:
        """Note the seconds since `started`, a reading of `time.perf_counter`."""
        self.values[f"time/{name}_s"] = time.perf_counter() - started

    def has(self, name: str) -> bool:
        """Whether it was tried to measure this metric."""
        return name in self.values or name in self.undefined

    def told(self, name: str, word: str, form: str) -> str:
        """A value in words."""
        if name in self.values:
            return f"{word} {self.values[name]:{form}}"
        return f"{word} undefined ({self.undefined[name]})"
