"""A small HTTP server: answers ``/health``, and says its name everywhere else."""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """Every GET is answered at once, on a connection that is kept alive."""

    protocol_version = "HTTP/1.1"
    # Head and body are two small writes, which Nagle's algorithm would hold back for 40 ms.
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Answer with the server's name."""
        body = sys.argv[1].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing: a drill's output is its report."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)  # noqa: T201 - this is how the drill learns the port
    server.serve_forever()
