"""The description of a milestone, `milestone.json`, which may come from anywhere: every field is checked."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sslmlflow.config.methods import METHODS, method_options_text
from sslmlflow.encoders import PREFIX, RESNETS, EncoderSpec, check_pretrained, read_timm_options
from sslmlflow.encoders.resnet import EARLY_LAYERS
from sslmlflow.errors import ConfigError
from sslmlflow.milestone.file_names import ABOUT_FILE
from sslmlflow.texts import printable

FORMAT = 1
LARGEST_FILE = 2**20  # bytes
LARGEST_RUN = 2048  # pixels: an encoder that is not checked on torch's meta device is run once on an image of its size

# The defaults of methods while milestones held only what was given: a later default does not change them.
_OPTIONS_THEN = {
    "simclr": {"temperature": "0.5", "hidden_width": "2048", "projection_width": "128"},
    "simsiam": {"projection_width": "2048", "bottleneck_width": "512"},
    "moco-v2": {
        "temperature": "0.1",
        "queue_size": "4096",
        "key_momentum": "0.99",
        "hidden_width": "2048",
        "projection_width": "128",
    },
}


class MilestoneFileError(ValueError):
    """What is wrong with a milestone's files: the file, the field or tensor, its value and what is allowed."""


class _Field(NamedTuple):
    allowed: str
    holds: Callable[[Any], bool]
    required: bool = True


def _whole(least: int, most: int = 2**53) -> _Field:
    words = f"a whole number of at least {least}" if most == 2**53 else f"a whole number from {least} to {most}"
    return _Field(words, lambda value: type(value) is int and least <= value <= most)


def _one_of(*values: Any) -> _Field:
    return _Field(
        ", ".join(json.dumps(v) for v in values),
        lambda value: any(type(value) is type(v) and value == v for v in values),
    )


def _number(least: float, most: float) -> _Field:
    return _Field(
        f"a number from {least:g} to {most:g}", lambda value: type(value) in (int, float) and least <= value <= most
    )


def _numbers(one: _Field) -> _Field:
    def hold(value: Any) -> bool:
        return isinstance(value, list) and len(value) in (1, 3) and all(map(one.holds, value))

    return _Field(f"a list of one or three, each {one.allowed}", hold)


_TEXT = _Field("a text", lambda value: isinstance(value, str) and value.isascii() and value != "")
_TRUTH = _Field("true or false", lambda value: isinstance(value, bool))
_OBJECT = _Field("an object", lambda value: isinstance(value, dict))
_SIZE = _whole(1, 16384)

_MILESTONE = {
    "encoder": _OBJECT,
    "epoch": _whole(0),
    "method": _Field(f"null, {', '.join(METHODS)}", lambda value: value is None or value in (*METHODS,)),
    "method_options": _Field("null or a text", lambda value: value is None or value == "" or _TEXT.holds(value)),
    "dataset": _OBJECT,
    "preprocessing": _OBJECT,
    "monitor": _OBJECT,
    "trained": _TRUTH._replace(required=False),
    "tuned": _TRUTH._replace(required=False),
}
_ENCODER = {
    "name": _TEXT,
    "stem": _one_of("cifar", "imagenet"),
    "width": _whole(1, 65536),
    "image_size": _SIZE,
    "early": _one_of(*EARLY_LAYERS),
    "published": _TRUTH,
    "upscale": _TRUTH,
    "block": _whole(1),
    "options": _TEXT._replace(required=False),  # of an architecture of timm
}
_PREPROCESSING = {
    "image_size": _SIZE,
    "channels": _Field("1 or 3", lambda value: type(value) is int and value in (1, 3)),
    "mean": _numbers(_number(-1000, 1000)),
    "std": _numbers(_number(1e-6, 1000)),
    "bit_depth": _Field("8, 10, 12 or 16", lambda value: type(value) is int and value in (8, 10, 12, 16), False),
}
_DATASET = {"train_fingerprint": _TEXT}
_MONITOR = {
    "images": _whole(1),
    "eps": _number(1e-300, 1e300),
    "seed": _Field("a whole number of at least 0", lambda value: type(value) is int and value >= 0),
}


def read_description(folder: Path) -> dict[str, Any]:
    """What `milestone.json` in `folder` holds, with every option of the method.

    Raises MilestoneFileError where a field is missing, unknown or not what is allowed.
    """
    path = folder / ABOUT_FILE
    if path.stat().st_size > LARGEST_FILE:
        raise MilestoneFileError(f"{ABOUT_FILE} has {path.stat().st_size} bytes (must be at most {LARGEST_FILE})")
    try:
        about = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise MilestoneFileError(f"{ABOUT_FILE} is not JSON: {printable(error)}") from error
    if not isinstance(about, dict):
        raise MilestoneFileError(f"{ABOUT_FILE} holds {_short(about)} (must be an object)")
    if type(about.get("format")) is int and about["format"] > FORMAT:
        raise MilestoneFileError(
            f"it is of format {about['format']}, and this release reads {FORMAT}: install a newer one"
        )
    _check(about, {"format": _one_of(FORMAT), **_MILESTONE}, "")
    for part, fields in {"encoder": _ENCODER, "preprocessing": _PREPROCESSING}.items():
        _check(about[part], fields, f"{part}.")
        if unknown := [name for name in about[part] if name not in fields]:
            raise MilestoneFileError(f"{ABOUT_FILE}: {part} has no field {_short(unknown[0])} in this release")
    _check(about["dataset"], _DATASET, "dataset.")
    _check(about["monitor"], _MONITOR, "monitor.")
    _check_together(about)
    if about["method"] is not None:
        try:
            about["method_options"] = _every_option(about["method"], about["method_options"])
        except ConfigError as error:
            raise MilestoneFileError(f"{ABOUT_FILE}: {printable(error)}") from error
    return about


def _every_option(method: str, given: str | None) -> str:
    """All options of a method; what the milestone does not hold has the default of that time."""
    then = ",".join(f"{name}={text}" for name, text in _OPTIONS_THEN.get(method, {}).items())
    return method_options_text(method, f"{then},{given or ''}")


def _check(given: Mapping[str, Any], fields: Mapping[str, _Field], place: str) -> None:
    for name, field in fields.items():
        if name not in given:
            if field.required:
                raise MilestoneFileError(f"{ABOUT_FILE}: {place}{name} is missing (must be {field.allowed})")
        elif not field.holds(given[name]):
            raise _invalid(f"{place}{name}", given[name], field.allowed)


def _check_together(about: Mapping[str, Any]) -> None:
    """Check what one field means for another."""
    encoder, preprocessing, trained = about["encoder"], about["preprocessing"], about.get("trained", True)
    if preprocessing["channels"] == 3:
        for name in ("mean", "std"):
            if len(preprocessing[name]) != 3:
                raise _invalid(f"preprocessing.{name}", preprocessing[name], "three numbers, one per channel")
    if not encoder["upscale"] and encoder["image_size"] != preprocessing["image_size"]:
        raise _invalid("encoder.image_size", encoder["image_size"], f"{preprocessing['image_size']}, as preprocessing")
    if trained and encoder["published"]:
        raise _invalid("encoder.published", True, "false for weights that were trained")
    if trained and about["method"] is None:
        raise _invalid("method", None, "the method by which the weights were trained")
    if not trained and encoder["width"] != EncoderSpec.width:
        raise _invalid("encoder.width", encoder["width"], f"{EncoderSpec.width} for an encoder that was not trained")
    ours = encoder["name"] in RESNETS and not encoder["published"]
    if encoder["image_size"] > LARGEST_RUN and not (ours and trained):
        raise _invalid("encoder.image_size", encoder["image_size"], f"at most {LARGEST_RUN} for this encoder")
    options, trained_timm = encoder.get("options", ""), trained and encoder["name"].startswith(PREFIX)
    if bool(options) != trained_timm or (options and encoder["upscale"]):
        allowed = "auto, or settings, without upscale" if trained_timm else "nothing for this encoder"
        raise _invalid("encoder.options", options, allowed)
    try:
        check_pretrained(encoder["name"])
        read_timm_options(options)
    except ConfigError as error:
        raise MilestoneFileError(f"{ABOUT_FILE}: encoder: {printable(error)}") from error


def _invalid(name: str, value: Any, allowed: str) -> MilestoneFileError:
    return MilestoneFileError(f"{ABOUT_FILE}: invalid value for {name}: {_short(value)} (must be {allowed})")


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
