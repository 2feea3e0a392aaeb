"""Which parameters are searched, and between which bounds."""

from collections.abc import Sequence
from dataclasses import dataclass

import optuna

from sslmlflow.config.options import Option, options_of, unknown_name
from sslmlflow.config.umm import Umm
from sslmlflow.errors import ConfigError

# Numeric parameters of `umm` that change how it tunes, and not for how long: trials are of equal cost.
SEARCHABLE = ("alpha", "beta", "eps", "inner_lr", "lr", "kappa", "terms", "directions", "js_images")
FORM = "low..high, low..high:log"
LEAST_SHARE = 0.001  # below it a term changes nothing


@dataclass(frozen=True)
class Range:
    """A closed interval of one parameter; whole numbers where `whole`, even on a logarithmic scale where `log`."""

    name: str
    low: float
    high: float
    log: bool = False
    whole: bool = False

    def __contains__(self, value: float | None) -> bool:
        return value is not None and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.name} from {self.low:.3g} to {self.high:.3g}{' (logarithmic)' if self.log else ''}"

    def suggest(self, trial: optuna.Trial) -> float:
        """The value that the study's sampler draws."""
        if self.whole:
            return trial.suggest_int(self.name, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(self.name, self.low, self.high, log=self.log)


def read_range(name: str, text: str) -> Range:
    """The range that `low..high` or `low..high:log` stands for; ConfigError names the text and what is allowed.

    >>> read_range("alpha", "1e-3..1:log")
    Range(name='alpha', low=0.001, high=1.0, log=True, whole=False)
    """
    option: Option = options_of(Umm)[name]
    bounds, _, scale = text.strip().partition(":")
    ends = bounds.split("..")
    if len(ends) != 2 or scale not in ("", "log", "linear"):
        raise ConfigError(f"the range {text} of {name} is not possible. Allowed: {FORM}.")
    low, high = (option.read(end) for end in ends)
    if low is None or high is None or not low < high:
        raise ConfigError(f"the range {text} of {name} is not possible: its low end must be below its high end.")
    if scale == "log" and low <= 0:
        raise ConfigError(f"the range {text} of {name} is not possible: a logarithmic one begins above 0.")
    return Range(name, low, high, scale == "log", option.kind is int)


def around(balanced: float) -> str:
    """The range of a weight, as text, in units of the one at which its term pulls as strongly as the loss.

    >>> around(0.0131)
    '1.31e-05..0.0131:log'
    """
    return f"{LEAST_SHARE * balanced:.3g}..{balanced:.3g}:log"


def read_space(alpha: str | None, beta: str | None, search: str | None) -> list[Range]:
    """The ranges of alpha and beta, if given, and of the further parameters in `search`, `name:low..high:log,...`."""
    ranges = [read_range(name, text) for name, text in (("alpha", alpha), ("beta", beta)) if text is not None]
    for part in (search or "").split(","):
        if not part.strip():
            continue
        name, _, text = part.strip().partition(":")
        if name in SEARCHABLE[:2]:
            raise ConfigError(f"search={search} is not possible: {name} has a range of its own, {name}_range={text}.")
        if name not in SEARCHABLE[2:]:
            raise ConfigError(f"search={search} is not possible: {unknown_name(name, SEARCHABLE[2:])}")
        ranges.append(read_range(name, text))
    names = [found.name for found in ranges]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"search={search} is not possible: {twice} is given twice.")
    return ranges


def suggest(trial: optuna.Trial, space: Sequence[Range]) -> dict[str, float]:
    """A value for every parameter of the space."""
    return {found.name: found.suggest(trial) for found in space}
