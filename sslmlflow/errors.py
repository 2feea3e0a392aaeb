"""Errors that are reported to the user in one message, without a traceback."""

import errno

from sslmlflow.texts import printable, without_secrets

# Error codes of MLflow by what the tracking server answered.
REFUSED = {"UNAUTHENTICATED": 401, "CUSTOMER_UNAUTHORIZED": 401, "PERMISSION_DENIED": 403}
LONGEST, LONGEST_READ = 600, 10_000  # characters: a server may answer with a page
LOGIN = "check MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"


class UserError(Exception):
    """Something the user can mend: the message names what was given, what is allowed and what to do."""

    exit_code = 1

    def __init__(self, message: str) -> None:
        """Secrets in the message are masked: it is printed, and may be stored in a tag."""
        super().__init__(without_secrets(message))


class ConfigError(UserError):
    """A parameter that is unknown or out of its range; found before any data is read."""

    exit_code = 2


class DivergedError(UserError):
    """A training that cannot go on because of what its own parameters did to it; another may."""


class PartnerLostError(UserError):
    """Another process of the same job has ended, or cannot be reached."""


class LeftQuietly(Exception):  # noqa: N818 (no error of this process)
    """Another process of the same job reports why it cannot be done; this one has nothing to add."""


class PrunedError(UserError):
    """A training that is stopped because it is not worth going on with; its run ends as killed, not as failed."""


def refused(error: Exception) -> int | None:
    """The HTTP status, 401 or 403, with which the tracking server refused a request, if that is the error."""
    return REFUSED.get(str(getattr(error, "error_code", None)))


def in_short(error: Exception) -> str:
    """The message of an error of a library on one line, and what to do where it is known.

    The statement that a database adds is left out, and so is the advice of torch and NumPy to load what may run code.

    >>> in_short(ValueError("(sqlite3.OperationalError) database or disk is full\\n[SQL: CREATE TABLE runs]"))
    '(sqlite3.OperationalError) database or disk is full. Free some space, then start again with --resume=auto.'
    """
    said = str(error)[:LONGEST_READ].split("\n[SQL:")[0]
    if "weights_only" in said or "allow_pickle" in said:
        return "it holds Python objects, which are not loaded: they can run code; save numbers or texts"
    short = without_secrets(printable(" ".join(said.split()) or type(error).__name__))
    short = short if len(short) <= LONGEST else f"{short[:LONGEST]}…"
    if status := refused(error):
        return f"the tracking server refused the login ({status}): {LOGIN} ({short})"
    full = "disk is full" in said or (isinstance(error, OSError) and error.errno == errno.ENOSPC)
    return f"{short}. Free some space, then start again with --resume=auto." if full else short
