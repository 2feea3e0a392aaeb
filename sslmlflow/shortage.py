"""Errors that mean that memory ran out, whichever library raised them."""

import errno
import importlib
import os
import re
import resource
import signal
import time
from contextlib import suppress
from types import ModuleType

from sslmlflow.signals import stop_wished

# Text of torch's allocators and kernels, of the loader of shared libraries, of SQLite and of threads that get no stack.
_SIGNS = re.compile(
    r"can't allocate memory|cannot allocate memory|out of memory|bad_alloc|ALLOC_FAILED|unable to allocate|"
    r"could not create a (primitive|memory)|can't start new thread|failed to map segment",
    re.IGNORECASE,
)
_NOEXEC = "Operation not permitted"  # a file system from which no library may be loaded
IMPORT_CPU_SECONDS, IMPORT_SECONDS = 120, 600
_WANTED = re.compile(r"allocate ([\d.]+) ?(bytes|[KMGT]iB)", re.IGNORECASE)


def out_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or one that led to it, means that memory ran out.

    >>> out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"))
    True
    >>> out_of_memory(RuntimeError("size mismatch"))
    False
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
            return True
        known = isinstance(error, (RuntimeError, OSError, ImportError)) and _NOEXEC not in str(error)
        if known and _SIGNS.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def shortage(error: BaseException) -> str:
    """What is known of an error that means that memory ran out, as the beginning of a sentence.

    >>> shortage(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8000000000 bytes."))
    'out of memory (tried to allocate 8.0 GB)'
    """
    known = []
    if wanted := _WANTED.search(str(error)):
        number, unit = wanted.groups()
        known.append(f"tried to allocate {_gigabytes(float(number)) if unit == 'bytes' else f'{number} {unit}'}")
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY and "CUDA" not in str(error):
        known.append(f"`ulimit -v` allows {_gigabytes(limit)}")
    return f"out of memory ({', '.join(known)})" if known else "out of memory"


def import_within_limit(name: str) -> ModuleType:
    """Import a module, where `ulimit -v` is set in another process first; MemoryError where that fails.

    Libraries that get no memory while they are loaded may abort the process, or never return.
    """
    if resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY:
        if (child := os.fork()) == 0:
            _try_import(name)
        if not _ended_well(child):
            raise MemoryError
    return importlib.import_module(name)


def _ended_well(child: int) -> bool:
    """Whether a process ended with code 0 in time; one that hangs, or delays a stop, is killed."""
    until = time.monotonic() + IMPORT_SECONDS
    with suppress(ChildProcessError):  # where SIGCHLD is ignored, how it ended is not known
        while not (ended := os.waitpid(child, os.WNOHANG))[0]:
            if stop_wished() or time.monotonic() > until:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return stop_wished()
            time.sleep(0.05)
        return ended[1] == 0
    return True


def _try_import(name: str) -> None:
    code = 1
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(nowhere, stream)
        resource.setrlimit(resource.RLIMIT_CPU, (IMPORT_CPU_SECONDS, IMPORT_CPU_SECONDS))
        importlib.import_module(name)
        code = 0
    except Exception as error:
        code = int(out_of_memory(error))  # what else fails is raised by the process that goes on
    finally:
        os._exit(code)


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
