"""A proxy before a tracking server, on which things go wrong."""

import http.client
import random
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.mlflow_server import free_port


class Proxy:
    """Hands requests on to the port of a server; `fault` happens to the given share of them.

    error: 500 is answered. drop: the connection breaks before. lost: it breaks after the server did what was asked.
    hang: nothing is answered for `hang_seconds`. restart: nobody listens for half a second.
    """

    def __init__(self, server_port: int, fault: str = "none", share: float = 0.0) -> None:
        self.port = free_port()
        self.fault, self.share, self.count = fault, share, 0
        self.hang_seconds = 1.5
        self._server_port = server_port
        self._random = random.Random(fault)
        self._listening: ThreadingHTTPServer | None = None
        self._lock = threading.Lock()
        self.start()

    def start(self) -> None:
        """Listen."""
        proxy = self

        class Handler(_Handler):
            def handle_one(self) -> None:
                proxy.handle(self)

        ThreadingHTTPServer.allow_reuse_address = True
        self._listening = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._listening.daemon_threads = True
        threading.Thread(target=self._listening.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Refuse every connection, and break those that there are."""
        listening, self._listening = self._listening, None
        if listening:
            listening.shutdown()
            listening.server_close()

    def handle(self, request: "_Handler") -> None:
        """Answer a request, or not."""
        with self._lock:
            happens = self._random.random() < self.share and self._listening is not None
            self.count += happens
            if happens and self.fault == "restart":
                self.stop()
                threading.Timer(0.5, self.start).start()
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        if self._listening is None or (happens and self.fault == "drop"):
            return request.break_off()
        if happens and self.fault == "error":
            return request.answer(500, [], b"{}")
        if happens and self.fault == "hang":
            time.sleep(self.hang_seconds)
            return request.break_off()
        connection = http.client.HTTPConnection("127.0.0.1", self._server_port, timeout=60)
        connection.request(request.command, request.path, body, dict(request.headers))
        answer = connection.getresponse()
        content, headers = answer.read(), answer.getheaders()
        connection.close()
        if happens:
            return request.break_off()
        return request.answer(answer.status, headers, content)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_one(self) -> None:
        raise NotImplementedError

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = lambda self: self.handle_one()  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def break_off(self) -> None:
        self.close_connection = True

    def answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        self.send_response_only(status)
        for name, text in headers:
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, text)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
