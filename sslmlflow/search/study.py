"""A study in a database: its seats, the trials that take them, and what becomes of those whose process died.

The number of trials is exact whoever joins, dies or comes back: each is a seat that was queued once, and a process that
finds none waiting makes no trial of its own.
"""

import contextlib
import fcntl
import os
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path

import optuna
from optuna.exceptions import DuplicatedStudyError, ExperimentalWarning, StorageInternalError
from optuna.samplers import BaseSampler, GPSampler, QMCSampler, RandomSampler, TPESampler
from optuna.storages import RDBStorage, fail_stale_trials
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError, ProgrammingError, SQLAlchemyError

from sslmlflow.errors import ConfigError, DivergedError, UserError, in_short
from sslmlflow.texts import without_logins

SEAT, WHY = "seat", "why"
BEGUN, STOPPED = "begun", "stopped"  # attributes of one attempt, which the next does not inherit
ADDRESSES = "sqlite:///FILE, or postgresql+psycopg://USER@HOST/DATABASE of a server that runs"
ATTEMPTS = 3  # of a trial whose process dies
Objective = Callable[[optuna.Trial], float]


class Seats:
    """The seats of the study `name` in the database `url`; `new` if it was made just now.

    A trial that gives no sign of life for four times `heartbeat` seconds is taken for dead. ConfigError for an address
    that is none or holds a password, UserError if the database cannot be used.
    """

    def __init__(self, url: str, name: str, minimise: bool, heartbeat: int) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._patience = timedelta(seconds=4 * heartbeat)
        direction = StudyDirection.MINIMIZE if minimise else StudyDirection.MAXIMIZE
        check_address(url)
        self._url = url
        try:
            with _alone(url), _calm():
                self._storage = storage = _storage(url, heartbeat)
                try:
                    self.study = optuna.create_study(storage=storage, study_name=name, direction=direction)
                    self.new = True
                except DuplicatedStudyError:
                    self.study = optuna.load_study(storage=storage, study_name=name)
                    self.new = False
        except ImportError as error:
            driver = getattr(error.__cause__ or error, "name", None)  # Optuna raises one of its own
            raise UserError(
                f"the database of studies {url} needs a driver that is not installed ({driver}). "
                'Install it: pip install "sslmlflow[postgres]".'
            ) from error
        except (SQLAlchemyError, RuntimeError, OSError) as error:
            raise UserError(
                f"the database of studies {url} cannot be used: {in_short(error)} Give one that can: {ADDRESSES}."
            ) from error

    def add(self, total: int, first: Mapping[str, float] | None) -> None:
        """Queue seats up to `total`; the first trial of a study takes the values `first`."""
        for seat in range(len(self.latest()), total):
            self.study.enqueue_trial(dict(first or {}) if seat == 0 else {}, user_attrs={SEAT: seat})

    def requeue(self) -> list[FrozenTrial]:
        """Queue again, with the same values, what a process left when it died or was stopped; those trials.

        Only one process may do so. What three processes died of is left.
        """
        with _calm():
            fail_stale_trials(self.study)
        for trial in self.latest():
            # Who dies while its values are drawn leaves a trial without a heartbeat, which is never called stale.
            silent = datetime.now() - (trial.datetime_start or datetime.now()) > self._patience
            if trial.state == TrialState.RUNNING and BEGUN not in trial.user_attrs and silent:
                self.study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
        attempts = Counter(trial.user_attrs[SEAT] for trial in self._trials() if STOPPED not in trial.user_attrs)
        lost = [
            trial
            for trial in self.latest()
            if trial.state == TrialState.FAIL
            and WHY not in trial.user_attrs
            and attempts[trial.user_attrs[SEAT]] < ATTEMPTS
        ]
        for trial in lost:
            fixed = {name: value for name, value in trial.system_attrs.items() if name == "fixed_params"}
            self.study.add_trial(
                optuna.create_trial(
                    state=TrialState.WAITING,
                    params=trial.params,
                    distributions=trial.distributions,
                    user_attrs={name: kept for name, kept in trial.user_attrs.items() if name not in (BEGUN, STOPPED)},
                    system_attrs=fixed,
                )
            )
        return lost

    def latest(self) -> list[FrozenTrial]:
        """The trials by seat, of each the last attempt."""
        return [trial for _, trial in sorted({trial.user_attrs[SEAT]: trial for trial in self._trials()}.items())]

    def waiting(self) -> int:
        """How many seats no process has taken yet."""
        return self._count(TrialState.WAITING)

    def running(self) -> int:
        """How many seats some process, of whatever machine, is taking."""
        return self._count(TrialState.RUNNING)

    def begun(self) -> int:
        """How many trials were begun, whatever became of them."""
        return sum(trial.state != TrialState.WAITING for trial in self._trials())

    def take(self, sampler: str, seed: int, own_seed: int, objective: Objective) -> FrozenTrial | None:
        """Run one waiting trial, if there is one, and give it as it ended; `own_seed` differs from take to take.

        A DivergedError fails it for good, its words are kept; whatever else ends it goes on to the caller, and the
        trial can be queued again. UserError if the database does not answer.
        """
        turn, taken = contextlib.ExitStack(), []

        def told(trial: optuna.Trial) -> float:
            turn.close()
            if not _has_seat(trial):  # a process of another machine took the last one, or somebody else queued this
                raise DivergedError("no seat was left")
            # Its thread may not have come so far: a trial that has begun without one is never called stale.
            self._storage.record_heartbeat(trial._trial_id)
            trial.set_user_attr(BEGUN, True)
            taken.append(trial.number)
            try:
                return objective(trial)
            except DivergedError as error:
                trial.set_user_attr(WHY, str(error))
                raise
            except KeyboardInterrupt:
                trial.set_user_attr(STOPPED, True)
                raise
            except SystemExit as error:  # would leave a running trial behind
                trial.set_user_attr(STOPPED, True)
                raise KeyboardInterrupt from error

        with turn, _calm():
            # Two processes that ask a SQLite file at the same moment are given the same trial.
            turn.enter_context(_alone(self._url))
            if not self.waiting():
                return None
            self.study.sampler = _sampler(sampler, seed, own_seed)
            try:
                self.study.optimize(told, n_trials=1, catch=(DivergedError,))
            except ValueError as error:
                if "Cannot tell" not in str(error):
                    raise
                print("this process was silent for so long that its trial was taken for dead: left to who does it now")
            except (StorageInternalError, SQLAlchemyError) as error:
                raise UserError(
                    f"the database of studies {self._url} does not answer: {in_short(error)} The same command goes on."
                ) from error
        return self.study.get_trials(deepcopy=False)[taken[0]] if taken else None

    def _count(self, state: TrialState) -> int:
        return sum(trial.state == state for trial in self.latest())

    def _trials(self) -> list[FrozenTrial]:
        """Those that were queued here: others can write to the database as well."""
        return [trial for trial in self.study.get_trials(deepcopy=False) if _has_seat(trial)]


def _has_seat(trial: FrozenTrial | optuna.Trial) -> bool:
    return type(trial.user_attrs.get(SEAT)) is int


def _sampler(name: str, seed: int, own_seed: int) -> BaseSampler:
    """Samplers keep nothing between trials; `tpe` and `gp` keep away from what breaks constraints.

    A quasi-random sequence is one for all processes; what draws where it cannot, before any trial has a value, is not.
    """
    if name == "quasi-random":
        draws = RandomSampler(seed=own_seed)
        return QMCSampler(scramble=True, seed=seed, independent_sampler=draws, warn_independent_sampling=False)
    if name == "gp":
        return GPSampler(seed=own_seed, warn_independent_sampling=False)
    return TPESampler(seed=own_seed)


def _storage(url: str, heartbeat: int) -> RDBStorage:
    """Two machines that make the tables of a server at the same moment are in each other's way: one tries again."""
    for _ in range(4):
        with contextlib.suppress(IntegrityError, ProgrammingError):
            return RDBStorage(url, heartbeat_interval=heartbeat, grace_period=4 * heartbeat)
        time.sleep(0.5)
    return RDBStorage(url, heartbeat_interval=heartbeat, grace_period=4 * heartbeat)


def is_study(url: str, name: str) -> bool:
    """Whether the database has a study of this name; a database that cannot be used has none."""
    try:
        with _alone(url), _calm():
            return name in optuna.get_all_study_names(_storage(url, 1))
    except (SQLAlchemyError, ImportError, RuntimeError, OSError):  # reported when the study is opened
        return False


def check_address(url: str) -> None:
    """ConfigError unless this is the address, without a password, of a database that several processes can use."""
    try:
        parsed = make_url(url)
    except SQLAlchemyError:
        raise ConfigError(f"storage={url} is not possible. Allowed: auto, {ADDRESSES}.") from None
    if parsed.password or without_logins(url) != url:
        raise ConfigError(
            "invalid value for storage: an address with a password (must be one without: parameters are shown in the "
            "MLflow UI). Leave it out, and set PGPASSWORD or write ~/.pgpass. If `mlflow run` started this, MLflow has "
            "stored the address in its run already: delete that run, and change the password."
        )
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise ConfigError(f"storage={url} is not possible. Allowed: {ADDRESSES}.")
    if parsed.get_backend_name() == "sqlite":
        if parsed.database in (None, "", ":memory:"):
            raise ConfigError(f"storage={url} is not possible: others cannot join it. Allowed: {ADDRESSES}.")
        folder = Path(str(parsed.database)).absolute().parent
        if not folder.is_dir():
            raise ConfigError(f"storage={url} is not possible: there is no folder {folder}.")


@contextlib.contextmanager
def _alone(url: str) -> Iterator[None]:
    """One process at a time, where the database is a SQLite file: it has no locks of its own that last."""
    file = make_url(url).database if url.startswith("sqlite") else None
    if not file:
        yield
        return
    folder = Path(file).absolute().parent
    held = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)


@contextlib.contextmanager
def _calm() -> Iterator[None]:
    """Heartbeats and quasi-random sampling are called experimental at every use."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield
