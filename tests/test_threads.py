"""Under `ulimit -v`, a thread that dies of a lack of memory before it begins is not waited for without limit."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT

# A thread in whose place nothing reports that it has begun, and ones that begin: in the main thread and in another.
PROGRAM = """
import resource, signal, threading
from sslmlflow import threads

class Dead(threading.Thread):
    def _bootstrap(self):
        pass

def alarm(number, frame):
    raise AssertionError

def begin_another():
    threading.Thread(target=begun.set).start()

resource.setrlimit(resource.RLIMIT_AS, (10**11, {hard}))
threads.PATIENCE_SECONDS = 0.2
threads.guard_starts()
signal.signal(signal.SIGALRM, alarm)
signal.setitimer(signal.ITIMER_REAL, 100)
try:
    {what}
except MemoryError as error:
    print(error)
begun = threading.Event()
threading.Thread(target=begin_another).start()
assert begun.wait(10)
assert signal.getsignal(signal.SIGALRM) is alarm, "what somebody else has set is left"
assert 90 < signal.getitimer(signal.ITIMER_REAL)[0] <= 100
"""


@pytest.mark.parametrize("what", ["Dead(daemon=True).start()", "threading.Thread(target=print).start()"])
def test_a_thread_that_never_begins_is_a_lack_of_memory(what: str) -> None:
    program = PROGRAM.format(what=what, hard="resource.RLIM_INFINITY")
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ("a thread did not begin\n" if "Dead" in what else "\n")


def test_without_a_limit_threads_start_as_python_starts_them() -> None:
    program = "import threading; before = threading.Thread.start; from sslmlflow.threads import guard_starts; "
    program += "guard_starts(); assert threading.Thread.start is before"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
