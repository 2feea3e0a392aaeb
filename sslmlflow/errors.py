"""Errors that are told to the person in one message, without a traceback."""


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
