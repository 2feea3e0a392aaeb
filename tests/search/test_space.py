"""Ranges as people write them, and what is refused."""

import optuna
import pytest

from sslmlflow.errors import ConfigError
from sslmlflow.search.space import Range, read_range, read_space, suggest


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("alpha", "1e-3..1:log", Range("alpha", 0.001, 1.0, log=True)),
        ("beta", "0..2", Range("beta", 0.0, 2.0)),
        ("beta", " 0.5 .. 2 : linear".replace(" : ", ":"), Range("beta", 0.5, 2.0)),
        ("terms", "1..8:log", Range("terms", 1, 8, log=True, whole=True)),
        ("kappa", "0.1..1", Range("kappa", 0.1, 1.0)),
    ],
)
def test_ranges_are_read(name: str, text: str, found: Range) -> None:
    assert read_range(name, text) == found


@pytest.mark.parametrize(
    ("alpha", "search", "said"),
    [
        ("1", None, "the range 1 of alpha is not possible. Allowed: low..high, low..high:log."),
        ("1..2:cubic", None, "the range 1..2:cubic of alpha is not possible"),
        ("2..1", None, "its low end must be below its high end"),
        ("1..1", None, "its low end must be below its high end"),
        ("0..1:log", None, "a logarithmic one begins above 0"),
        ("-1..1", None, "alpha=-1 is not possible. Allowed: a number of at least 0."),
        ("0..nan", None, "alpha=nan is not possible"),
        ("0..1", "lrr:1e-4..1e-2", "lrr is not a parameter here. Did you mean lr?"),
        ("0..1", "epochs:1..2", "epochs is not a parameter here"),
        ("0..1", "alpha:1..2", "alpha has a range of its own"),
        ("0..1", "lr:0..1", "lr=0 is not possible"),
        ("0..1", "lr:1e-3..1,lr:1e-4..1", "lr is given twice"),
        ("0..1", "kappa:auto..1", "its low end must be below its high end"),
        ("0..1", "terms:1.5..3", "terms=1.5 is not possible. Allowed: a whole number"),
    ],
)
def test_mistakes_are_told(alpha: str, search: str | None, said: str) -> None:
    with pytest.raises(ConfigError) as told:
        read_space(alpha, "0..1", search)
    assert said in str(told.value)


def test_what_is_drawn_lies_in_the_space_and_has_its_type() -> None:
    space = read_space("1e-3..1:log", "0..2", "lr:1e-4..1e-2:log, terms:2..4")
    study = optuna.create_study()
    for _ in range(20):
        drawn = suggest(study.ask(), space)
        assert list(drawn) == ["alpha", "beta", "lr", "terms"]
        assert all(drawn[part.name] in part for part in space)
        assert isinstance(drawn["terms"], int)


def test_the_ends_of_a_range_belong_to_it() -> None:
    found = read_range("alpha", "0.1..1")
    assert [value in found for value in (0.1, 1.0, 0.5, 0.09, 1.1, None)] == [True, True, True, False, False, False]
