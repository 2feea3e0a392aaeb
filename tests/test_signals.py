"""Signals at moments at which they must wait, and what they become."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest

from sslmlflow import signals
from sslmlflow.signals import SIGNALS, Stopped, end_if_wished, interruptible, listening, stop_wished, uninterrupted

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


@pytest.mark.parametrize("times", [1, 3])
def test_an_interruption_waits_for_the_end_of_the_block_and_repeating_it_at_once_says_nothing_new(times: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        press(times)
    assert done == ["the rest of the block"]


def test_a_later_one_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "ONE_WISH_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        press(2)
    assert done == []


def test_what_fails_in_the_block_is_told_all_the_same() -> None:
    with pytest.raises(ValueError, match="broken"):
        press(1, ValueError("broken"))


def test_without_one_nothing_happens() -> None:
    press(0)
    assert done == ["the rest of the block"]
    assert not stop_wished()


def test_a_part_of_the_block_can_be_cut() -> None:
    done.clear()

    def stopped() -> None:
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            assert stop_wished()
            done.append("before")
            with interruptible():
                done.append("within")

    with pytest.raises(Stopped):
        stopped()
    assert done == ["before"]


@pytest.mark.parametrize("number", SIGNALS)
def test_each_signal_has_the_exit_code_of_a_shell_and_is_raised_once(number: signal.Signals) -> None:
    with listening():
        with pytest.raises(Stopped, match=number.name) as stopped:
            signal.raise_signal(number)
        assert stopped.value.exit_code == 128 + number
        signal.raise_signal(signal.SIGTERM)  # of the same wish
        with uninterrupted():
            done.append("what is to be done at the end")
    assert not stop_wished()


def test_one_that_a_destructor_swallowed_can_be_raised_again() -> None:
    with listening():
        with contextlib.suppress(Stopped):
            signal.raise_signal(signal.SIGTERM)
        assert stop_wished()
        with pytest.raises(Stopped, match="SIGTERM"):
            end_if_wished()
    end_if_wished()


def test_what_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with listening():
        signal.raise_signal(signal.SIGHUP)
    assert signal.signal(signal.SIGHUP, before) == signal.SIG_IGN


def test_a_terminal_that_is_gone_is_written_to_no_more() -> None:
    script = """
import os, signal, sys
from sslmlflow.signals import Stopped, listening
with listening():
    try:
        signal.pause()
    except Stopped as stopped:
        print("something", flush=True)
        print("more", file=sys.stderr)
        os._exit(stopped.exit_code)
"""
    own, other = os.openpty()
    process = subprocess.Popen([sys.executable, "-c", script], stdin=other, stdout=other, stderr=other)
    os.close(other)
    while b"S" not in _state(process.pid):
        time.sleep(0.05)
    time.sleep(0.5)
    os.close(own)
    process.send_signal(signal.SIGHUP)
    assert process.wait(20) == 129


def _state(pid: int) -> bytes:
    with open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().split()[2]
