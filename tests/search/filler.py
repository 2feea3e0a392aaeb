"""A process that takes seats of a study with an objective that costs nothing: `python -m tests.search.filler`."""

import json
import os
import sys
import time

import optuna

from sslmlflow.errors import DivergedError
from sslmlflow.search.study import Seats

HEARTBEAT = 1


def objective(trial: optuna.Trial) -> float:
    """A parabola, slowly; every seventh seat fails in words."""
    x = trial.suggest_float("x", -1.0, 1.0)
    trial.set_user_attr("process", os.getpid())
    time.sleep(0.05)
    if trial.user_attrs["seat"] % 7 == 6:
        raise DivergedError("the seventh fails")
    trial.set_user_attr("y", x**2)
    return x**2


def main(url: str, name: str, leads: bool) -> None:
    seats = Seats(url, name, minimise=True, heartbeat=HEARTBEAT)
    while not seats.latest():
        time.sleep(0.1)
    while True:
        if leads:
            seats.requeue()
        if seats.waiting():
            seats.take("tpe", 0, os.getpid(), objective)
        elif leads and seats.running():
            time.sleep(0.1)
        else:
            return


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    main(given["url"], given["name"], given["leads"])
