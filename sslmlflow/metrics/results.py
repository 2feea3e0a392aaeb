"""What measuring gave: a value or the reason for none, and seconds, by name."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite

from sslmlflow.metrics.failures import FAILURES, why

NO_REASONS: Mapping[str, str] = {}


@dataclass
class Results:
    """Finite values by name, for every metric that has none the reason why, and the seconds of each computation.

    `sampled` names those that were measured on a sample of what was given.
    """

    values: dict[str, float] = field(default_factory=dict)
    undefined: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    sampled: set[str] = field(default_factory=set)

    def add(
        self, names: str | Sequence[str], metric: Callable[[], object], not_finite: Mapping[str, str] = NO_REASONS
    ) -> None:
        """Measure one metric, or several that come from one computation, whose seconds are under the first one's name.

        A failure is recorded as the reason and not raised: the other metrics are still measured. `not_finite` gives
        reasons by name.
        """
        names = (names,) if isinstance(names, str) else names
        started = time.perf_counter()
        try:
            found = metric()
            values = [float(value) for value in (found if isinstance(found, Sequence) else (found,))]  # type: ignore[arg-type]
        except FAILURES as error:
            self.fail(names, why(error))
        else:
            for name, value in zip(names, values, strict=True):
                if isfinite(value):
                    self.values[name] = value
                else:
                    self.undefined[name] = not_finite.get(name) or f"the value is {value}, not a finite number"
        self.time(names[0], started)

    def fail(self, names: Sequence[str], reason: str) -> None:
        """Note why metrics have no value."""
        self.undefined.update(dict.fromkeys(names, reason))

    def time(self, name: str, started: float) -> None:
        """Note the seconds since `started`, a reading of `time.perf_counter`."""
        self.seconds[name] = time.perf_counter() - started

    def update(self, other: "Results", prefix: str = "") -> None:
        """Take what others gave, under names that begin with `prefix`."""
        self.values.update({prefix + name: value for name, value in other.values.items()})
        self.undefined.update({prefix + name: reason for name, reason in other.undefined.items()})
        self.seconds.update({prefix + name: taken for name, taken in other.seconds.items()})
        self.sampled.update(prefix + name for name in other.sampled)

    def logged(self) -> dict[str, float]:
        """The values, and the seconds as metrics of their own: `time/<name>_s`."""
        names = {name: name.removeprefix("labelled/").removeprefix("label_free/") for name in self.seconds}
        return self.values | {f"time/{names[name]}_s": taken for name, taken in self.seconds.items()}
