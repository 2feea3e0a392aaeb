"""Ctrl-C at moments at which it must wait."""

import signal

import pytest

from sslmlflow.signals import uninterrupted

done: list[str] = []


def press(times: int, error: Exception | None = None) -> None:
    """Press Ctrl-C in a block that must not be cut in two."""
    done.clear()
    with uninterrupted():
        for _ in range(times):
            signal.raise_signal(signal.SIGINT)
        done.append("the rest of the block")
        if error:
            raise error


pytestmark = pytest.mark.usefixtures("ctrl_c")


def test_a_first_interruption_waits_for_the_end_of_the_block() -> None:
    with pytest.raises(KeyboardInterrupt):
        press(1)
    assert done == ["the rest of the block"]


def test_a_second_one_does_not() -> None:
    with pytest.raises(KeyboardInterrupt):
        press(2)
    assert done == []


def test_what_fails_in_the_block_is_told_all_the_same() -> None:
    with pytest.raises(ValueError, match="broken"):
        press(1, ValueError("broken"))


def test_without_one_nothing_happens() -> None:
    press(0)
    assert done == ["the rest of the block"]
