"""Declare a parameter once: its type, default, range and help; read its value from text."""

import contextlib
import dataclasses
import difflib
import inspect
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from sslmlflow.errors import ConfigError

Config = TypeVar("Config")
AUTO, NONE = "auto", "none"


@dataclass(frozen=True)
class Option:
    """What a parameter accepts; of a list, what its items are. The value `None` is written as `null`."""

    name: str
    group: str
    kind: type
    optional: bool
    many: bool
    default: Any
    help: str
    null: str
    items: str
    positional: bool
    earlier: Callable[[str], str]
    choices: tuple[str, ...] | None
    minimum: float | None
    above: float | None
    maximum: float | None
    changes_result: bool

    @property
    def allowed(self) -> str:
        """The allowed values in words."""
        if self.choices:
            return ", ".join(self.choices)
        if self.kind is bool:
            return "true, false"
        if self.many:
            return self._or_null(f"{self.items} separated by commas")
        if self.kind is str:
            return self._or_null("any text")
        words = {int: "a whole number", float: "a number"}[self.kind]
        if self.above is not None:
            words += f" above {self.above:g}"
        if self.minimum is not None:
            words += f" of at least {self.minimum:g}"
        if self.maximum is not None:
            words += f" and at most {self.maximum:g}" if "at least" in words else f" of at most {self.maximum:g}"
        return self._or_null(words)

    def _or_null(self, words: str) -> str:
        return f"{self.null}, or {words}" if self.optional else words

    def text(self, value: Any) -> str:
        """A value as MLproject, the command line and MLflow write it."""
        return self.null if value is None else as_text(value)

    def read(self, text: str) -> Any:
        """The value that `text` stands for; ConfigError names the value and what is allowed."""
        text = text.strip()
        today = self.earlier(text)
        if self.optional and today == self.null:
            return None
        if not self.many:
            return self._item(today, text)
        if items := tuple(self._item(item.strip(), text) for item in today.split(",") if item.strip()):
            return items
        raise self._refusal(text)

    def _item(self, item: str, text: str) -> Any:
        try:
            value = _READERS[self.kind](item)
        except ValueError:
            raise self._refusal(text) from None
        if self.choices and value not in self.choices:
            raise self._refusal(text, nearest(text, self.choices))
        if isinstance(value, int | float) and self.kind is not bool:
            too_low = (self.minimum is not None and value < self.minimum) or (
                self.above is not None and value <= self.above
            )
            if too_low or (self.maximum is not None and value > self.maximum):
                raise self._refusal(text)
        return value

    def _refusal(self, text: str, suggestion: str | None = None) -> ConfigError:
        hint = f" Did you mean {suggestion}?" if suggestion else ""
        return ConfigError(f"{self.name}={text} is not possible.{hint} Allowed: {self.allowed}.")


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


_READERS: dict[type, Any] = {int: int, float: _number, bool: _truth, str: str}


def option(
    default: Any,
    help: str,
    *,
    choices: Iterable[str] | None = None,
    minimum: float | None = None,
    above: float | None = None,
    maximum: float | None = None,
    null: str = AUTO,
    items: str = "texts",
    positional: bool = False,
    earlier: Callable[[str], str] | None = None,
    changes_result: bool = True,
) -> Any:
    """A dataclass field with its range and help.

    `null` is how `None` is written; `items`, what a list holds, in the plural; a `positional` one may be given without
    its name; `earlier` turns the spelling of an earlier build into today's. `changes_result=False` marks what may
    differ when a run is resumed: where things lie, how often they are saved.
    """
    ranges = {
        "help": help,
        "null": null,
        "items": items,
        "positional": positional,
        "earlier": earlier or str,
        "choices": tuple(choices) if choices else None,
        "minimum": minimum,
        "above": above,
        "maximum": maximum,
        "changes_result": changes_result,
    }
    return dataclasses.field(default=default, metadata=ranges)


def again(config: type, name: str, default: Any = dataclasses.MISSING, help: str | None = None) -> Any:
    """A dataclass field as another class declares it, but for its default or its help."""
    field = next(field for field in dataclasses.fields(config) if field.name == name)
    metadata = {**field.metadata, "help": help or field.metadata["help"]}
    return dataclasses.field(default=field.default if default is dataclasses.MISSING else default, metadata=metadata)


def spelled(texts: Mapping[str, str]) -> Callable[[str], str]:
    """A reader of earlier spellings, by what they are today."""
    return lambda text: texts.get(text, text)


def options_of(config: type) -> dict[str, Option]:
    """The options that a configuration class declares, by name, in order; `group` is the class that began with it."""
    hints = typing.get_type_hints(config)
    groups = {name: owner.__doc__ or "" for owner in config.__mro__ for name in inspect.get_annotations(owner)}
    found = {}
    for field in dataclasses.fields(config):
        hint = hints[field.name]
        union = isinstance(hint, types.UnionType)
        parts = typing.get_args(hint) if union else (hint,)
        kind = next(part for part in parts if part is not types.NoneType)
        many = typing.get_origin(kind) is tuple
        found[field.name] = Option(
            name=field.name,
            group=groups[field.name],
            kind=typing.get_args(kind)[0] if many else kind,
            optional=types.NoneType in parts,
            many=many,
            default=field.default,
            **field.metadata,
        )
    return found


def read_config(config: type[Config], given: Mapping[str, str]) -> Config:
    """Build a configuration from text values; every mistake is named in one ConfigError.

    >>> from sslmlflow.config.pretrain import Pretrain
    >>> read_config(Pretrain, {"lr": "0.1"}).lr
    0.1
    >>> read_config(Pretrain, {"lr": "-1"})
    Traceback (most recent call last):
    sslmlflow.errors.ConfigError: lr=-1 is not possible. Allowed: auto, or a number above 0.
    """
    options = options_of(config)
    values: dict[str, Any] = {}
    mistakes = []
    for name, text in given.items():
        if name not in options:
            mistakes.append(unknown_name(name, options))
            continue
        try:
            values[name] = options[name].read(text)
        except ConfigError as mistake:
            mistakes.append(str(mistake))
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    return config(**values)


def unknown_name(name: str, known: Iterable[str], what: str = "parameter here") -> str:
    """The sentence for a parameter or command that does not exist."""
    known = sorted(known)
    suggestion = nearest(name, known)
    hint = f" Did you mean {suggestion}?" if suggestion else ""
    return f"{name} is not a {what}.{hint} Allowed: {', '.join(known)}."


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` most resembles, if any does."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return close[0] if close else None


def as_text(value: Any) -> str:
    """A value as text; `Option.text` knows how an option writes that it has none."""
    if value is None:
        return AUTO
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(map(as_text, value))
    return str(value)


def texts_of(config: Any) -> dict[str, str]:
    """Every option of a configuration as text."""
    return {name: option.text(getattr(config, name)) for name, option in options_of(type(config)).items()}


def todays(config: type, texts: Mapping[str, str]) -> dict[str, str]:
    """Stored texts of options as they are spelled today; what is none, or cannot be read, is left as it is."""
    options = options_of(config)
    found = dict(texts)
    for name in set(texts) & set(options):
        with contextlib.suppress(ConfigError):
            found[name] = options[name].text(options[name].read(texts[name]))
    return found


def deciding_texts(config: Any) -> dict[str, str]:
    """The options that can change the result, as text."""
    options = options_of(type(config))
    return {name: text for name, text in texts_of(config).items() if options[name].changes_result}
