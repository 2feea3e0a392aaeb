"""A metric beside the accuracies of a probe, over milestones or models: every coefficient, and what a choice loses."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from math import isfinite, nan

from sslmlflow.metrics.correlation import (
    Correlation,
    Values,
    bootstrap_interval,
    corrected,
    kendall,
    pearson,
    regret,
    spearman,
)

SIGNIFICANT = 0.05
STAR = f"* p < {SIGNIFICANT}, corrected for all r of the table"
COLUMNS = (
    *("r", "p", "p_corrected", "low", "high", "rho", "rho_p", "tau", "tau_p", "n", "regret"),
    *("probe_min", "probe_max", "undefined"),
)


@dataclass(frozen=True)
class Compared:
    """One value of the metric, and one of the probe, for each milestone or model; None where it is undefined."""

    values: Values
    accuracies: Values
    lower_is_better: bool

    @cached_property
    def correlation(self) -> Correlation:
        """Pearson's r of the two."""
        return pearson(self.values, self.accuracies)

    @property
    def bounds(self) -> tuple[float, float]:
        """The lowest accuracy and the highest, NaN where there is none: where it hardly moves, r says nothing."""
        known = [value for value in self.accuracies if value is not None]
        return min(known, default=nan), max(known, default=nan)

    @property
    def range(self) -> str:
        """From the lowest accuracy to the highest, in words."""
        lowest, highest = self.bounds
        return f"{lowest:.1%} to {highest:.1%}"

    @property
    def regret(self) -> float | None:
        """The accuracy that choosing by the metric loses."""
        return regret(self.values, self.accuracies, self.lower_is_better)

    def formatted(self, p: float) -> str:
        """Pearson's r as tables write it, with its corrected p: a star where it is significant, a dash for none."""
        r = self.correlation
        return "–" if r.reason else f"{r.r:.2f}{'*' if p < SIGNIFICANT else ''}"

    def line(self, p: float) -> list[str]:
        """A line of `COLUMNS`, with the corrected p, at full precision; empty where something is undefined."""
        r, pairs = self.correlation, (self.values, self.accuracies)
        rho, tau = spearman(*pairs), kendall(*pairs)
        found = r.r, r.p, p, *bootstrap_interval(*pairs), rho.r, rho.p, tau.r, tau.p
        coefficients, bounds = ([repr(v) if isfinite(v) else "" for v in values] for values in (found, self.bounds))
        return [*coefficients, str(r.n), "" if self.regret is None else repr(self.regret), *bounds, r.reason or ""]


def points(lost: float | None) -> str:
    """A loss of accuracy in percentage points, as tables write it."""
    return "–" if lost is None else f"{100 * lost:.1f}"


def corrected_p(table: Iterable[Compared]) -> list[float]:
    """The p of Pearson's r of every cell of a table, corrected for all of them; NaN where r is undefined."""
    return corrected([cell.correlation.p for cell in table])
