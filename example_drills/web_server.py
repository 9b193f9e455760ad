"""A small HTTP server: says its name, and keeps in memory what is PUT below ``/orders``."""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ORDERS: dict[str, str] = {}


class Handler(BaseHTTPRequestHandler):
    """Every request is answered at once, on a connection that is kept alive."""

    protocol_version = "HTTP/1.1"
    # Head and body in one write. Whoever dies in between has begun an answer, for which no load
    # balancer can ask another server; and Nagle's algorithm would hold the body back for 40 ms.
    wbufsize = -1

    def do_GET(self) -> None:
        """Answer with all orders, or with the server's name."""
        if self.path == "/orders":
            self._answer(json.dumps(ORDERS), "application/json")
        else:
            self._answer(sys.argv[1])

    def do_PUT(self) -> None:
        """Keep an order under its number."""
        what = self.rfile.read(int(self.headers["Content-Length"]))
        ORDERS[self.path.removeprefix("/orders/")] = what.decode()
        self._answer("kept")

    def _answer(self, text: str, kind: str = "text/plain") -> None:
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing: a drill's output is its report."""


class Server(ThreadingHTTPServer):
    """Clients that go away are none of its worries."""

    def handle_error(self, *client: object) -> None:
        """Say nothing of a connection that broke off, as drills have it."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(*client)


if __name__ == "__main__":
    address = sys.argv[2] if len(sys.argv) > 2 else "127.0.0.1"
    server = Server((address, 0), Handler)
    print(server.server_port, flush=True)  # noqa: T201 - this is how the drill learns the port
    server.serve_forever()
