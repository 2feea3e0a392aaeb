"""What a user writes is read, or refused with the value, what is allowed and the nearest name."""

import dataclasses
from typing import Any

import pytest

from sslmlflow.config import COMMANDS, ENTRY_POINTS
from sslmlflow.config.evaluate import Evaluate
from sslmlflow.config.grid import Grid
from sslmlflow.config.main import Main
from sslmlflow.config.methods import METHOD_OPTIONS
from sslmlflow.config.options import nearest, options_of, read_config, texts_of, todays
from sslmlflow.config.pretrain import Pretrain
from sslmlflow.config.report import Report
from sslmlflow.config.score import Score
from sslmlflow.config.tune import Tune
from sslmlflow.errors import ConfigError
from sslmlflow.metrics.catalogue import CRR_ADJUSTED

# What several entry points share is declared once, and tried once: by the first of them.
OPTIONS = {
    option: (entry_point, name)
    for entry_point, config in reversed(ENTRY_POINTS.items())
    for name, option in options_of(config).items()
}


def refusal(config: type, **given: str) -> str:
    with pytest.raises(ConfigError) as refused:
        read_config(config, given)
    return str(refused.value)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("method", "simclrr", "Did you mean simclr? Allowed: simclr, simsiam, moco-v2, byol,"),
        ("method", "mocov2", "Did you mean moco-v2? Allowed: simclr, simsiam, moco-v2, byol,"),
        ("schedule", "onecycle", "Did you mean one-cycle? Allowed: auto, one-cycle, warmup-cosine,"),
        ("stem", "cifr", "Did you mean cifar? Allowed: auto, cifar, imagenet."),
        ("dataset", "cifar", "Did you mean cifar10? Allowed: digit-scenes, cifar10, cifar100, stl10, folder."),
        ("precision", "float23", "Did you mean float32? Allowed: auto, float32, bf16."),
        ("precision", "quadruple", "Allowed: auto, float32, bf16."),
        ("download", "yes", "Allowed: true, false."),
        ("download", "auto", "Allowed: true, false."),
        ("epochs", "0", "Allowed: auto, or a whole number of at least 1."),
        ("epochs", "ten", "Allowed: auto, or a whole number of at least 1."),
        ("epochs", "1.5", "Allowed: auto, or a whole number of at least 1."),
        ("epochs", "1e3", "Allowed: auto, or a whole number of at least 1."),
        ("batch_size", "1", "Allowed: auto, or a whole number of at least 2."),
        ("seed", "auto", "Allowed: a whole number of at least 0."),
        ("batch_size", "", "Allowed: auto, or a whole number of at least 2."),
        ("width", "3", "Allowed: auto, or a whole number of at least 4."),
        ("image_size", "7", "Allowed: auto, or a whole number of at least 8."),
        ("seed", "-1", "Allowed: a whole number of at least 0."),
        ("lr", "0", "Allowed: auto, or a number above 0."),
        ("lr", "-0.1", "Allowed: auto, or a number above 0."),
        ("lr", "1e999", "Allowed: auto, or a number above 0."),
        ("weight_decay", "-1e-9", "Allowed: auto, or a number of at least 0."),
        ("eps", "0", "Allowed: a number above 0."),
        ("checkpoint_minutes", "0", "Allowed: a number above 0."),
    ],
)
def test_a_bad_value_is_refused_with_what_is_allowed(name: str, text: str, said: str) -> None:
    message = refusal(Pretrain, **{name: text})
    assert message.startswith(f"{name}={text} is not possible.")
    assert said in message


@pytest.mark.parametrize(("entry_point", "name"), OPTIONS.values())
def test_no_parameter_takes_what_is_not_finite_or_of_another_kind(entry_point: str, name: str) -> None:
    config = ENTRY_POINTS[entry_point]
    option = options_of(config)[name]
    if option.kind is str and option.many:
        assert getattr(read_config(config, {name: " any, text "}), name) == ("any", "text")
        return
    if option.kind is str and not option.choices:
        assert getattr(read_config(config, {name: " any: text "}), name) == "any: text"
        return
    for text in ("nan", "NaN", "inf", "-inf", "Infinity", "1e999", "-1e999", "", "none at all", "[1]", "0x10"):
        assert f"{name}={text} is not possible." in refusal(config, **{name: text})


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("epochs", "auto", None),
        ("epochs", " 7 ", 7),
        ("lr", "auto", None),
        ("lr", "1e-3", 0.001),
        ("lr", "5", 5.0),
        ("weight_decay", "0", 0.0),
        ("download", "TRUE", True),
        ("download", "false", False),
        ("batch_size", "2", 2),
        ("method", "moco-v2", "moco-v2"),
        ("data_dir", "/a b/c=d,é", "/a b/c=d,é"),
    ],
)
def test_a_good_value_is_read(name: str, text: str, value: Any) -> None:
    read = getattr(read_config(Pretrain, {name: text}), name)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(("entry_point", "name"), OPTIONS.values())
def test_every_default_is_a_value_that_may_be_given(entry_point: str, name: str) -> None:
    config = ENTRY_POINTS[entry_point]
    option = options_of(config)[name]
    assert getattr(read_config(config, {name: option.text(option.default)}), name) == option.default


@pytest.mark.parametrize(
    ("config", "given", "today"),
    [
        (Pretrain, {"resume": "no", "stop_on": "no"}, {"resume": "none", "stop_on": "none"}),
        (Pretrain, {"keep": "last"}, {"keep": "1"}),
        (Pretrain, {"keep": "best:3"}, {"keep": "3"}),
        (Tune, {"objective": "crr_adjusted", "search": "auto"}, {"objective": CRR_ADJUSTED, "search": "none"}),
        (Score, {"views": "auto", "labels": "auto"}, {"views": "none", "labels": "none"}),
        (Grid, {"values": "0, 1"}, {"values": "0.0,1.0"}),
        (Pretrain, {"dataset": "none any more", "unknown": "1"}, {"dataset": "none any more", "unknown": "1"}),
    ],
)
def test_the_spellings_of_earlier_builds_are_read(config: type, given: dict[str, str], today: dict[str, str]) -> None:
    assert todays(config, given) == today
    if "unknown" not in given:
        assert read_config(config, given) == read_config(config, today)


@pytest.mark.parametrize("command", COMMANDS)
def test_no_option_of_a_method_has_the_name_of_another(command: str) -> None:
    assert not set(METHOD_OPTIONS) & set(options_of(COMMANDS[command]))


def test_every_mistake_is_told_at_once() -> None:
    message = refusal(Pretrain, method="simclrr", lr="nan", seeed="1", epochs="3")
    assert len(message.splitlines()) == 3
    for told in ("method=simclrr is not possible", "lr=nan is not possible", "seeed is not a parameter here"):
        assert told in message


def test_an_unknown_name_is_answered_with_the_nearest_and_with_all() -> None:
    message = refusal(Pretrain, batchsize="4")
    assert message.startswith("batchsize is not a parameter here. Did you mean batch_size? Allowed: ")
    assert all(field.name in message for field in dataclasses.fields(Pretrain))
    assert "Did you mean" not in refusal(Pretrain, xyzzy="4")


def test_nearest_names_nothing_where_nothing_is_near() -> None:
    assert nearest("resnet81", ["resnet18", "vgg11"]) == "resnet18"
    assert nearest("qqqq", ["resnet18", "vgg11"]) is None


def test_a_configuration_and_its_text_are_the_same() -> None:
    config = Pretrain(lr=None, epochs=3, download=True, data_dir="/some where", eps=0.1)
    texts = texts_of(config)
    assert (texts["lr"], texts["epochs"], texts["download"], texts["eps"]) == ("auto", "3", "true", "0.1")
    assert read_config(Pretrain, texts) == config


def test_main_takes_all_that_its_parts_take() -> None:
    parts = {field.name for part in (Pretrain, Evaluate, Report) for field in dataclasses.fields(part)}
    # Which run to evaluate is not asked: `main` evaluates its own.
    assert {field.name for field in dataclasses.fields(Main)} == parts - {"run", "runs", "milestones", "follow"}


def test_what_may_differ_when_a_run_is_resumed_is_where_things_lie_and_how_often_they_are_saved() -> None:
    """And how images are read: the digest of their pixels is compared, which sees more."""
    free = {name for name, option in options_of(Pretrain).items() if not option.changes_result}
    seen_in_the_images = {"bit_depth", "max_megapixels", "on_bad_image", "max_bad_share"}
    assert (
        free
        == {"data_dir", "download", "workers", "processes", "keep", "checkpoint_minutes", "resume"} | seen_in_the_images
    )
