"""What ``redis_site.Observer`` runs: it needs nothing but Python, and nothing of the package."""

import json
import socket
import sys
import threading
import time
from pathlib import Path


class Wire:
    """Redis's protocol, as much as an observer needs of it."""

    def __init__(self, address):
        self._socket = socket.create_connection(tuple(address), timeout=0.2)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._lines = self._socket.makefile("rb")

    def ask(self, *words):
        self.send(*words)
        return self.answer()

    def send(self, *words):
        parts = [f"${len(each)}\r\n{each}\r\n" for each in map(str, words)]
        self._socket.sendall(f"*{len(parts)}\r\n{''.join(parts)}".encode())

    def answer(self):
        line = self._lines.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError
        kind, rest = line[:1], line[1:-2].decode()
        if kind == b"-":
            raise ConnectionError(rest)
        if kind == b"*":
            return [self.answer() for _ in range(int(rest))]
        if kind == b"$":
            return None if rest == "-1" else self._lines.read(int(rest) + 2)[:-2].decode()
        return rest

    def close(self):
        self._lines.close()
        self._socket.close()


def primary_of(sentinels, service):
    for sentinel in sentinels:
        try:
            wire = Wire(sentinel)
            try:
                found = wire.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", service)
            finally:
                wire.close()
            if found is None:
                continue
            primary = Wire((found[0], int(found[1])))
            if primary.ask("ROLE")[0] == "master":
                return primary
            primary.close()
        except OSError:
            continue
    return None


def observe(settings):
    """Until its standard input ends."""
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    wire, number, wait = None, 0, settings["wait"]
    with Path(settings["file"]).open("w", buffering=1) as file:
        while not ended.is_set():
            due = time.monotonic() + settings["interval"]
            try:
                if wire is None:
                    wire = primary_of(settings["sentinels"], settings["service"])
                if wire is not None:
                    number += 1
                    wire.send("SET", f"observed:{number}", number)
                    if wait:
                        wire.send("WAIT", wait, 100)
                    wire.answer()
                    if not wait or int(wire.answer()) >= wait:
                        file.write(f"{number} {time.monotonic()}\n")
                    if number == 1:
                        print("writing", flush=True)
            except OSError:
                wire.close()
                wire = None
            time.sleep(max(0, due - time.monotonic()))


if __name__ == "__main__":
    observe(json.loads(sys.argv[1]))
