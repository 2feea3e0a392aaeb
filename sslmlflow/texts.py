"""Texts that come from outside, made fit to be printed and stored: no secrets, no control characters, no formulas."""

import base64
import csv
import io
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, cast
from urllib.parse import quote, quote_plus, unquote, unquote_plus

MASK = "***"
SHORTEST_SECRET = 4  # characters: a shorter one is a part of too many words to be masked wherever it appears
NO_SECRETS = {"true", "false", "none", "null"}  # values of variables such as HF_HUB_DISABLE_IMPLICIT_TOKEN
SECRET_VARIABLE = re.compile(r"(PASSWORD|PASSWD|TOKEN|SECRET|SECRET_KEY|ACCESS_KEY|API_KEY)$", re.IGNORECASE)
SECRET_FIELD = r"[\w.-]{0,40}(?:pass|pwd|token|secret|key|signature|credential|auth)[\w.-]{0,40}|sig"
# The user name in the address of a database is no secret; in a web address it may be a token.
WEB_LOGIN = re.compile(r"(\bhttps?://)[^\s/?#'\"<>@]+@", re.IGNORECASE)
LOGIN = re.compile(r"((?<![\w.+-])[a-z][\w.+-]*://[^\s/:?#'\"<>@]*:)[^\s'\"<>]+@", re.IGNORECASE)
FIELD = re.compile(rf"([?&;](?:{SECRET_FIELD})=)[^\s&;#'\"<>)]+", re.IGNORECASE)
ADDRESS = re.compile(r"([a-z][\w.+-]*)://(.*)", re.IGNORECASE | re.DOTALL)
# Colours and the tab, line feed and carriage return of progress bars move no cursor to where it does not belong.
UNSAFE = re.compile(r"\x1b(?!\[[0-9;]*m|\[A)|[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def printable(text: object) -> str:
    r"""A text from outside (a file name, a run's name, a server's answer) on one line, control characters escaped.

    >>> printable("two\nlines")
    'two\\nlines'
    """
    decoded = str(text)
    if decoded.isascii() and decoded.isprintable():  # nearly all, and a report has a million of them
        return decoded
    with suppress(UnicodeEncodeError):  # a half of a pair that no file name has; it is escaped below
        decoded = os.fsencode(decoded).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in decoded)


def folder_name(folder: str | Path) -> str:
    """Return the name under which a data set of dataset=folder appears: the last part of its path.

    >>> folder_name("/data/flowers/")
    'flowers'
    """
    return printable(Path(os.path.normpath(folder)).name)[:100] or "folder"


def in_markdown(text: object) -> str:
    """A text from outside in which Markdown finds no HTML, link, picture or further cell of a table.

    >>> in_markdown("p < 0.01 <b>a</b> ![x](y) a|b")
    'p < 0.01 &lt;b>a&lt;/b> ![x]\\\\(y) a\\\\|b'
    """
    return re.sub(r"<(?=[a-zA-Z/!?])", "&lt;", printable(text)).replace("](", "]\\(").replace("|", r"\|")


def as_csv(rows: Iterable[Sequence[object]]) -> str:
    """Rows as CSV in which no spreadsheet finds a formula.

    >>> as_csv([["run", "value"], ["=1+1", -0.5]])
    "run,value\\n'=1+1,-0.5\\n"
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([_cell(cell) for cell in row] for row in rows)
    return text.getvalue()


def _cell(cell: object) -> object:
    if not isinstance(cell, str):
        return cell
    cell = printable(cell)
    try:
        float(cell)
    except ValueError:
        return f"'{cell}" if cell.startswith(("=", "+", "-", "@")) else cell
    return cell


def without_secrets(text: str) -> str:
    """A text in which the secrets of this process, and what looks like one in an address, are masked.

    The secrets are the values of environment variables such as MLFLOW_TRACKING_PASSWORD and PGPASSWORD, and what
    comes before the host and in the query of every address in the environment; in each way in which they are encoded.

    >>> without_secrets("http://me:secret@host/?token=abc postgresql://me:secret@host/db")
    'http://***@host/?token=*** postgresql://me:***@host/db'
    """
    known = _known()
    return without_logins(known.sub(MASK, text) if known else text)


def without_logins(text: str) -> str:
    """A text in which what looks like a password or a token in an address is masked, whatever this process knows."""
    text = WEB_LOGIN.sub(rf"\1{MASK}@", LOGIN.sub(rf"\1{MASK}@", text))
    return FIELD.sub(rf"\1{MASK}", text)


@contextmanager
def masked_streams() -> Iterator[None]:
    """Mask what is printed to stdout and stderr in the block, by whatever library, and by warnings and tracebacks."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (cast(IO[str], _Masked(stream)) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


class _Masked:
    """A text stream that masks secrets and escapes control characters on their way to another."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(UNSAFE.sub(lambda found: printable(found[0]), without_secrets(text)))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _known() -> re.Pattern[str] | None:
    """A pattern of the secrets in the environment."""
    return _pattern(tuple((name, text) for name, text in os.environ.items() if text))


@lru_cache(maxsize=1)
def _pattern(variables: tuple[tuple[str, str], ...]) -> re.Pattern[str] | None:
    secrets: set[str] = set()
    for name, text in variables:
        if SECRET_VARIABLE.search(name) and text.lower() not in NO_SECRETS:
            secrets.add(text)
        secrets |= _secrets_of_address(text)
    user, password = (dict(variables).get(f"MLFLOW_TRACKING_{part}", "") for part in ("USERNAME", "PASSWORD"))
    secrets |= _as_header(f"{user}:{password}") if password else set()
    ways = {way for secret in secrets for way in _encodings(secret) if len(way) >= SHORTEST_SECRET}
    if not ways:
        return None
    # The longest first: a secret may contain another.
    return re.compile("|".join(re.escape(way) for way in sorted(ways, key=len, reverse=True)), re.IGNORECASE)


def _secrets_of_address(address: str) -> set[str]:
    """What an address holds that is not to be shown, also where its password holds an `@` or a `/` as it is."""
    found = ADDRESS.fullmatch(address.strip())
    if not found:
        return set()
    fields = (field.partition("=") for field in re.split(r"[?&;#]", address)[1:])
    secrets = {value for name, _, value in fields if re.fullmatch(SECRET_FIELD, name, re.IGNORECASE)}
    login, at, _ = found[2].rpartition("@")
    user, colon, password = login.partition(":")
    web = found[1].lower() in ("http", "https")
    port_and_path = re.match(r"\d{1,5}/", password)
    if not at or "/" in user or port_and_path or not (colon or web):  # a path, or the user of a database
        return secrets
    if web:
        secrets |= {user} if not password or password == "x-oauth-basic" else set()
        login = f"{user}:{password}"
        secrets |= _as_header(login) | _as_header(unquote(login))
    # Libraries cut the address at any of these, and quote a part of it.
    return secrets | {password, *re.split(r"[@/:?#]", password)}


def _as_header(login: str) -> set[str]:
    return {base64.b64encode(login.encode()).decode()}


def _encodings(secret: str) -> set[str]:
    plain = {secret, unquote(secret), unquote_plus(secret)}
    quoted = {way(text) for text in plain for way in (quote, quote_plus, lambda text: quote(text, safe=""))}
    escaped = {way(text)[1:-1] for text in plain for way in (json.dumps, repr, ascii)}
    return plain | quoted | escaped
