"""Errors that are told to the person in one message, without a traceback."""

import errno


class UserError(Exception):
    """Something the user can mend: the message says what was given, what is allowed, what to do."""

    exit_code = 1


class ConfigError(UserError):
    """A parameter that is unknown or out of its range; found before any data is read."""

    exit_code = 2


class DivergedError(UserError):
    """A training that cannot go on because of what its own parameters did to it; another may."""


class PrunedError(UserError):
    """A training that is stopped because it is not worth going on with; its run ends as killed, not as failed."""


def in_short(error: Exception) -> str:
    """What an error says, without the statement that a database adds to it; what to do where its disk is full.

    >>> in_short(ValueError("(sqlite3.OperationalError) database or disk is full\\n[SQL: CREATE TABLE runs]"))
    '(sqlite3.OperationalError) database or disk is full. Free some space, then start again with --resume=auto.'
    """
    said = str(error).split("\n[SQL:")[0]
    full = "disk is full" in said or (isinstance(error, OSError) and error.errno == errno.ENOSPC)
    return f"{said}. Free some space, then start again with --resume=auto." if full else said
