"""What the fault proxy costs while it does nothing: beside no proxy, and socat, in one run.

    python tests/benchmarks/proxy_cost.py [--rounds 9] [--megabytes 512] [--pings 3000]

The server is a process of its own. Contenders run in turn, their order turning round, and a ratio
is the median of the ratios of one round, so that slow drift of the machine cancels out. The proxy
runs as in a drill: in the process of its client, with which it shares an interpreter; and, to show
what that costs, with the client in a process of its own. socat is left out where it is not
installed (`apt-get install socat`).

Throughput is one connection's, one way, until the server says that it has everything. A round trip
is 32 bytes there and back; of a run the median counts.

The targets, from the project's own promise, with the client in the proxy's process:

- at least 0.4 of direct loopback throughput;
- under 100 us added to a round trip.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import socket
import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from pytest_drdrill import FaultProxy

if TYPE_CHECKING:
    from collections.abc import Iterator

# Takes what comes; sends back what is short, and one byte once a client has ended.
SERVER = """
import socket, threading
door = socket.create_server(("127.0.0.1", 0))
print(door.getsockname()[1], flush=True)
def serve(link):
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    room = bytearray(1 << 18)
    with link:
        while size := link.recv_into(room):
            if size <= 64:
                link.sendall(room[:size])
        link.sendall(b"!")
while True:
    threading.Thread(target=serve, args=(door.accept()[0],), daemon=True).start()
"""
BLOCK = bytes(1 << 18)
LEAST_THROUGHPUT = 0.4
MOST_ADDED_US = 100


def throughput(port: int, megabytes: int) -> float:
    """MiB a second."""
    with socket.create_connection(("127.0.0.1", port)) as link:
        began = time.perf_counter()
        for _ in range(megabytes << 20 >> 18):
            link.sendall(BLOCK)
        link.shutdown(socket.SHUT_WR)
        assert link.recv(1) == b"!"
        return megabytes / (time.perf_counter() - began)


def round_trip(port: int, pings: int) -> float:
    """Microseconds, the median."""
    took = []
    with socket.create_connection(("127.0.0.1", port)) as link:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(pings):
            began = time.perf_counter()
            link.sendall(b"x" * 32)
            assert len(link.recv(64)) == 32
            took.append(time.perf_counter() - began)
    return statistics.median(took) * 1e6


def apart(port: int, megabytes: int, pings: int) -> tuple[float, float]:
    """Both, with the client in a process of its own."""
    command = [sys.executable, __file__, "--client", *map(str, (port, megabytes, pings))]
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    rate, took = map(float, said.split())
    return rate, took


@contextlib.contextmanager
def server() -> Iterator[int]:
    command = [sys.executable, "-c", SERVER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.kill()


@contextlib.contextmanager
def socat(target: int) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
    command = [
        *("socat", "-b262144", f"TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork,nodelay"),
        f"TCP:127.0.0.1:{target},nodelay",
    ]
    with subprocess.Popen(command) as process:
        try:
            end = time.monotonic() + 10
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                if time.monotonic() > end:
                    raise SystemExit("socat does not listen")
                time.sleep(0.02)
            yield port
        finally:
            process.terminate()


def show(what: str, values: list[float], unit: str, target: str = "", *, met: bool = True) -> None:
    low, middle, high = min(values), statistics.median(values), max(values)
    spread = f"(min {low:.2f}, max {high:.2f}, n={len(values)})"
    missed = "" if met else "  MISSED"
    print(f"  {what:<44} {middle:10.2f} {unit:<6} {spread:<38} {target}{missed}", flush=True)


def compare(rounds: int, megabytes: int, pings: int) -> None:
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(server())
        proxy = stack.enter_context(FaultProxy("127.0.0.1", port))

        def here(at: int) -> tuple[float, float]:
            return throughput(at, megabytes), round_trip(at, pings)

        contenders = {
            "direct": lambda: here(port),
            "proxy, as in a drill": lambda: here(proxy.port),
            "proxy, its client apart": lambda: apart(proxy.port, megabytes, pings),
        }
        if shutil.which("socat"):
            by_socat = stack.enter_context(socat(port))
            contenders["socat"] = lambda: here(by_socat)
        else:
            print("socat is not installed: it is left out")
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
        names = list(contenders)
        for each in contenders.values():
            each()  # warm
        for number in range(rounds):
            shift = number % len(names)
            for name in names[shift:] + names[:shift]:
                found[name].append(contenders[name]())
    for name, figures in found.items():
        ours = name == "proxy, as in a drill"
        print(name)
        show("throughput", [rate for rate, _ in figures], "MiB/s")
        show("round trip", [took for _, took in figures], "us")
        if name == "direct":
            continue
        pairs = list(zip(figures, found["direct"], strict=True))
        ratios = [rate / direct for (rate, _), (direct, _) in pairs]
        added = [took - direct for (_, took), (_, direct) in pairs]
        enough = statistics.median(ratios) >= LEAST_THROUGHPUT
        quick = statistics.median(added) < MOST_ADDED_US
        show("of direct throughput", ratios, "", ">= 0.4" * ours, met=enough or not ours)
        show("added to a round trip", added, "us", "< 100" * ours, met=quick or not ours)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--megabytes", type=int, default=512)
    parser.add_argument("--pings", type=int, default=3000)
    parser.add_argument("--client", type=int, nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.client:
        port, megabytes, pings = given.client
        print(throughput(port, megabytes), round_trip(port, pings))
        return
    compare(given.rounds, given.megabytes, given.pings)


if __name__ == "__main__":
    main()
