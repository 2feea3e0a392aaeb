"""Start the command line many times without importing torch and mlflow each time.

Reads a JSON list of arguments from each line of standard input, forks a child that runs them, and prints
the child's process id, then its exit status.
"""

import json
import os
import sys

import mlflow  # noqa: F401
import torch  # noqa: F401

import sslmlflow.jobs.pretrain  # noqa: F401
from sslmlflow.cli import main


def serve() -> None:
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            output = os.open(os.environ["FORK_SERVER_LOG"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(output, 1)
            os.dup2(output, 2)
            status = main(json.loads(line))
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
        print(child, flush=True)
        print(os.waitpid(child, 0)[1], flush=True)


if __name__ == "__main__":
    serve()
