"""Texts from outside: what is masked, escaped, and kept from being a formula or HTML."""

import csv
import io
import json
import logging
import os
import subprocess
import sys
from base64 import b64encode
from urllib.parse import quote

import pytest
from tqdm import tqdm

from sslmlflow.errors import UserError, in_short
from sslmlflow.texts import as_csv, in_markdown, masked_streams, printable, without_secrets

PASSWORDS = ["geheim", "ge@heim", "ge/heim", "ge:heim?#&", "gehéim %41", "ge+he im", "\"gehe'im\\\\"]


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in list(os.environ):
        if name.startswith(("MLFLOW_", "PG")):
            monkeypatch.delenv(name)
    return monkeypatch


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize("encoded", [True, False])
@pytest.mark.parametrize(
    ("variable", "address"),
    [
        ("MLFLOW_TRACKING_URI", "https://me:{}@host:5000/x"),
        ("MLFLOW_TRACKING_URI", "https://{}@host"),
        ("MLFLOW_TRACKING_URI", "https://host/?x=1&token={}"),
        ("MLFLOW_REGISTRY_URI", "postgresql+psycopg://me:{}@host/db"),
        ("MLFLOW_TRACKING_PASSWORD", "{}"),
        ("MLFLOW_TRACKING_TOKEN", "{}"),
        ("PGPASSWORD", "{}"),
        ("HTTPS_PROXY", "http://me:{}@proxy:3128"),
    ],
)
def test_a_secret_of_this_process_is_masked_in_every_encoding(
    variable: str, address: str, password: str, encoded: bool, clean: pytest.MonkeyPatch
) -> None:
    raw = {"https://{}@host": "/", "https://host/?x=1&token={}": "#& "}
    if not encoded and set(raw.get(address, "")) & set(password):
        pytest.skip("an address cannot hold it")
    given = quote(password, safe="") if encoded else password
    clean.setenv("MLFLOW_TRACKING_USERNAME", "me")
    clean.setenv(variable, address.format(given))
    ways = [given, quote(given), quote(given, safe=""), json.dumps(given)[1:-1], repr(given)[1:-1]]
    if encoded:
        ways += [password, json.dumps(password), repr(password)]
    if address.startswith("https://me") or variable == "MLFLOW_TRACKING_PASSWORD":
        sent = given if variable == "MLFLOW_TRACKING_PASSWORD" else password
        ways.append(b64encode(f"me:{sent}".encode()).decode())
    for way in [*ways, address.format(given)]:
        masked = without_secrets(f"before {way} after")
        assert given not in masked
        assert password not in masked
        assert way not in masked
        assert masked.startswith("before ")
        assert masked.endswith(" after")


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("s3://bucket/a?X-Amz-Signature=abc&part=2", "s3://bucket/a?X-Amz-Signature=***&part=2"),
        ("git+https://T0ken@host/x.git", "git+https://***@host/x.git"),
        ("{'uri': 'http://me:x@h', 'a': 1}", "{'uri': 'http://***@h', 'a': 1}"),
        ("mysql://me:a/b@h/db and me@example.org", "mysql://me:***@h/db and me@example.org"),
    ],
)
def test_what_looks_like_a_secret_in_an_address_is_masked(text: str, masked: str) -> None:
    assert without_secrets(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:5000/#/experiments/1/runs/abc",
        "sqlite:////data/me@work/mlflow.db",
        "postgresql+psycopg://USER@HOST/DATABASE",
        "s3://bucket/a@b",
        "epoch 3 of 10: loss 1.25, key=value, token",
    ],
)
def test_what_holds_no_secret_is_left_alone(text: str, clean: pytest.MonkeyPatch) -> None:
    clean.setenv("MLFLOW_TRACKING_URI", text.split()[0])
    clean.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "true")
    assert without_secrets(f"{text} true") == f"{text} true"


def test_messages_of_errors_are_masked(clean: pytest.MonkeyPatch) -> None:
    clean.setenv("PGPASSWORD", "gehe-im")
    assert str(UserError("it was gehe-im")) == "it was ***"
    assert in_short(OSError("it was\ngehe-im\x1b[2J")) == r"it was ***\x1b[2J"


def test_whatever_is_printed_passes(clean: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    clean.setenv("PGPASSWORD", "gehe-im")
    with masked_streams():
        print("a gehe-im", flush=True)
        print("b gehe-im \x1b[32mgreen\x1b[0m \x1b]0;title\x07", file=sys.stderr)
        sys.stdout.writelines(["c gehe-im\n"])
        logging.StreamHandler().emit(logging.makeLogRecord({"msg": "d gehe-im"}))
        for _ in tqdm(range(2), "e gehe-im"):
            tqdm.write("f gehe-im")
        assert sys.stdout.isatty() is False
        assert sys.stdout.encoding
        assert isinstance(sys.stderr.fileno(), int)
    out, err = capfd.readouterr()
    assert "gehe-im" not in out + err
    assert all(f"{letter} ***" in out + err for letter in "abcdef")
    assert "\x1b[32mgreen\x1b[0m \\x1b]0;title\\x07" in err, "colours stay, what else a terminal obeys does not"


JOB = """
import logging, os, sys, threading, types, warnings
from sslmlflow import cli

def job(config):
    thread = threading.Thread(target=lambda: [][os.environ["MLFLOW_TRACKING_URI"]])
    thread.start()
    thread.join()
    warnings.warn("warned of " + os.environ["MLFLOW_TRACKING_URI"])
    logging.getLogger().warning(os.environ["MLFLOW_TRACKING_URI"])
    try:
        raise ValueError("of " + os.environ["MLFLOW_TRACKING_PASSWORD"])
    except ValueError as error:
        raise RuntimeError("at " + os.environ["MLFLOW_TRACKING_URI"]) from error

sys.modules["sslmlflow.jobs.reap"] = types.SimpleNamespace(run=job)
sys.exit(cli.main(["reap"]))
"""


def test_tracebacks_are_masked(environment: dict[str, str]) -> None:
    given = {"MLFLOW_TRACKING_URI": "http://me:ge@hei/m@host/", "MLFLOW_TRACKING_PASSWORD": "wortlaut"}
    done = subprocess.run(
        [sys.executable, "-c", JOB], env={**environment, **given}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "RuntimeError: at http://***@host/" in done.stderr
    assert "ValueError: of ***" in done.stderr
    assert "UserWarning: warned of http://***@host/" in done.stderr
    assert done.stderr.count("Traceback") == 3
    assert not any(secret in done.stdout + done.stderr for secret in ("ge@hei", "wortlaut"))


@pytest.mark.parametrize("cell", ["=1+1", "+A1", "-A1", "@sum", "=cmd|' /C calc'!A0", "-1-1", "+1e3e"])
def test_no_cell_is_a_formula(cell: str) -> None:
    ((read,),) = csv.reader(io.StringIO(as_csv([[cell]]), newline=""))
    assert read == f"'{cell}"


@pytest.mark.parametrize("cell", ["\t=1", "\r=1", "\n=1", 'a\r\n"=1'])
def test_a_cell_is_one_line_that_begins_with_no_blank(cell: str) -> None:
    ((read,),) = csv.reader(io.StringIO(as_csv([[cell]]), newline=""))
    assert read == printable(cell)
    assert not read.startswith(("\t", "="))


@pytest.mark.parametrize("cell", ["-0.5", "+3", "-inf", "1e-3", "a=b", "", -0.5, 3, "-nan"])
def test_numbers_and_words_stay_as_they_are(cell: object) -> None:
    ((read,),) = csv.reader(io.StringIO(as_csv([[cell]])))
    assert read == str(cell)


@pytest.mark.parametrize("text", ["two\nlines", "\x1b[31mred", "\x9b2J", "a\u202eb", "\u2028", "\udce4", "\r\t\0"])
def test_what_a_terminal_would_obey_is_escaped(text: str) -> None:
    assert printable(text).isprintable()
    assert printable(text).encode()


@pytest.mark.parametrize("text", ["<script>x</script>", "<img src=x>", "![a](http://x)", "[a](http://x)", "a|b\n\n# c"])
def test_markdown_finds_no_markup(text: str) -> None:
    shown = in_markdown(text)
    assert "\n" not in shown
    assert not any(markup in shown for markup in ("<s", "</", "<i", "](")), shown
    assert "|" not in shown.replace(r"\|", "")
