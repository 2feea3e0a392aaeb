"""A password or token of the tracking server reaches no output and no file, whatever the server answers."""

import base64
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import pytest
from mlflow import MlflowClient

from tests.conftest import Command
from tests.faults.proxy import Proxy
from tests.jobs.small import SMALL
from tests.mlflow_server import free_port, running_server

PASSWORD = "gEhe@im/w0Rt"
QUOTED = quote(PASSWORD, safe="")
HEADER = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
TOKEN = "T0kEnOfMine"
PARTS = ("w0Rt", "T0kEn", HEADER[6:], base64.b64encode(TOKEN.encode()).decode()[:12])  # in any way of writing them
GIVEN = [
    {"uri": f"http://me:{QUOTED}@"},
    {"uri": "http://me:gEhe@w0Rt@"},
    {"uri": f"http://{TOKEN}@"},
    {"query": f"/?token={TOKEN}"},
    {"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": PASSWORD},
    {"MLFLOW_TRACKING_TOKEN": TOKEN},
]
ONE_TRY = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}


def _environment(given: dict[str, str], port: int) -> dict[str, str]:
    more = dict(given)
    uri = f"{more.pop('uri', 'http://')}127.0.0.1:{port}{more.pop('query', '')}"
    return {**more, **ONE_TRY, "MLFLOW_TRACKING_URI": uri}


def _holding_a_secret(*texts: str, folder: Path) -> list[str]:
    files = {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    found = {**files, **{f"text {place}": text.encode() for place, text in enumerate(texts)}}
    return [name for name, held in found.items() if any(part.lower().encode() in held.lower() for part in PARTS)]


@contextmanager
def _answering(status: int) -> Iterator[int]:
    """A server that answers everything with this status, and says what it was sent; its port."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(f"no \x1b[2J{self.path}\n{self.headers.get('Authorization')}".encode())

        do_GET = do_POST = answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("given", GIVEN, ids=str)
def test_a_server_that_refuses_is_told_from_one_that_is_not_there(
    given: dict[str, str], sslmlflow: Command, tmp_path: Path
) -> None:
    refused = "the tracking server refused the login ({}): check MLFLOW_TRACKING_USERNAME"
    away = "no answer from the tracking server"
    for status, said in ((401, refused), (403, refused), (500, away), (0, away)):
        with _answering(status) as port:
            done = sslmlflow("report", **_environment(given, port if status else free_port()))
        assert done.returncode == 1
        assert said.format(status) in done.stderr
        assert "\x1b" not in done.stderr
        assert done.stderr.count("\n") == 1
        assert not _holding_a_secret(done.stdout, done.stderr, folder=tmp_path)


class Refusing(Proxy):
    """A proxy that answers the first milestones that it is sent with 401, then with 500, and says what it was sent."""

    def handle(self, request) -> None:  # type: ignore[no-untyped-def]
        if request.command == "POST" and request.path.endswith("/logged-models") and self.count < 2:
            self.count += 1
            request.rfile.read(int(request.headers.get("Content-Length", 0)))
            said = f"{request.headers.get('Authorization')} {PASSWORD}"
            return request.answer((401, 500)[self.count - 1], [], said.encode())
        return super().handle(request)


@pytest.mark.slow
def test_a_training_whose_login_fails_for_a_while_leaves_no_secret(
    sslmlflow: Command, environment: dict[str, str], tmp_path: Path
) -> None:
    port = free_port()
    with running_server(tmp_path, environment, port) as server:
        proxy = Refusing(port)
        place = _environment(GIVEN[0], proxy.port)
        done = sslmlflow("pretrain", *SMALL, "--epochs=1", **place)
        assert done.returncode == 0, done.stderr
        assert "trying again: the tracking server refused the login (401): check" in done.stderr
        assert "500" in done.stderr
        assert "View run" in done.stdout
        client = MlflowClient(server)
        (run,) = client.search_runs(["0"])
        proxy.stop()
        models = client.search_logged_models(["0"])
    assert run.info.status == "FINISHED"
    assert len(models) == 2
    assert not _holding_a_secret(done.stdout, done.stderr, folder=tmp_path)


def test_a_password_in_the_address_of_studies_is_refused_and_kept_nowhere(sslmlflow: Command, tmp_path: Path) -> None:
    for address in (
        f"postgresql+psycopg://me:{QUOTED}@127.0.0.1:1/db",
        f"postgresql+psycopg://me:{PASSWORD}@127.0.0.1:1/db",
        f"postgresql+psycopg://me@127.0.0.1:1/db?password={TOKEN}",
        f"foo://me:{PASSWORD}@127.0.0.1/db",
    ):
        done = sslmlflow("tune", f"--storage={address}")
        assert done.returncode == 2
        assert "storage" in done.stderr
        assert not _holding_a_secret(done.stdout, done.stderr, folder=tmp_path)


def test_the_secrets_of_the_tests_are_found_where_they_are(tmp_path: Path) -> None:
    for place, given in enumerate(GIVEN):
        (tmp_path / str(place)).write_text(str(_environment(given, 1)))
    (tmp_path / "header").write_text(HEADER)
    assert len(_holding_a_secret(os.sep, folder=tmp_path)) == len(GIVEN) + 1
