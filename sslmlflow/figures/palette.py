"""Ten colours that stay apart for colour-blind readers too (Petroff 2021, arXiv:2107.02270)."""

from collections.abc import Iterable

COLOURS = (
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#94a4a2",
    "#832db6",
    "#a96b59",
    "#e76300",
    "#b9ac70",
    "#717581",
    "#92dadd",
)


def colours_of(names: Iterable[str]) -> dict[str, str]:
    """A colour for each distinct name, in order of appearance; after ten they repeat.

    >>> colours_of(["a", "b", "a"])
    {'a': '#3f90da', 'b': '#ffa90e'}
    """
    return {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(dict.fromkeys(names))}
