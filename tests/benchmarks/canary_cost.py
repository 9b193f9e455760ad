"""What a canary costs, beside plain clients that do the same and measure nothing.

At 20 writes a second: the share of a core that the process takes, each client in turn, several
times over, an event loop that only sleeps among them; and by how much the event loop that the drill
runs in is late. With many writes under way: how many a second are acknowledged. The HTTP server is
a process of its own and its cost is not counted; the folder is on the file system of the temporary
files, whose syncs are its own speed.

    python tests/benchmarks/canary_cost.py [--rounds 5] [--seconds 4]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import aiohttp

from pytest_drdrill import Canary, Drill, folder_canary, http_canary

SERVER = """
import asyncio
data = {}
class Server(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.rest = transport, b""
    def data_received(self, received):
        self.rest += received
        while b"\\r\\n\\r\\n" in self.rest:
            head, _, rest = self.rest.partition(b"\\r\\n\\r\\n")
            lengths = [l for l in head.split(b"\\r\\n") if l.lower().startswith(b"content-length:")]
            length = int(lengths[0].partition(b":")[2]) if lengths else 0
            if len(rest) < length: return
            body, self.rest = rest[:length], rest[length:]
            method, path, _ = head.split(b" ", 2)
            if method == b"PUT": data[path], body = body, b""
            else: body = data.get(path, b"")
            head = b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body)
            self.transport.write(head + body)
async def main():
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


@contextmanager
def served():
    process = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


# -- plain clients ---------------------------------------------------------------------------------


class PlainHttp:
    """What one would write by hand: a session, and a PUT."""

    def __init__(self, url):
        self.url, self.session = url, None

    async def write(self, key, value):
        if self.session is None:
            self.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        async with self.session.put(f"{self.url}/{key}", data=value) as answer:
            await answer.read()

    async def close(self):
        await self.session.close()


class PlainFolder:
    """The same for files, in asyncio's own threads."""

    def __init__(self, folder):
        self.folder = folder

    async def write(self, key, value):
        await asyncio.to_thread(self._write, key, value)

    def _write(self, key, value):
        path = f"{self.folder}/{key}"
        handle = os.open(f"{path}.part", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        os.write(handle, value.encode())
        os.fsync(handle)
        os.close(handle)
        Path(f"{path}.part").rename(path)
        handle = os.open(self.folder, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)

    async def close(self):
        pass


class Nothing:
    """A store that is a dictionary: what is left is the canary itself."""

    def __init__(self):
        self.data = {}

    async def write(self, key, value):
        self.data[key] = value

    def read_all(self):
        return self.data

    async def close(self):
        pass


# -- at 20 writes a second -------------------------------------------------------------------------


async def plainly(client, seconds, every):
    """Write at a fixed rate; CPU seconds, and writes."""
    loop, began = asyncio.get_running_loop(), time.monotonic()
    await client.write(f"{began}-first", "x" * 64)
    before, count, under_way = time.process_time(), 0, set()
    began = loop.time()
    while loop.time() - began < seconds:
        task = asyncio.create_task(client.write(f"{began}-{count}", "x" * 64))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
        count += 1
        await asyncio.sleep(began + count * every - loop.time())
    used = time.process_time() - before
    await asyncio.gather(*under_way)
    await client.close()
    return used, count


async def by_canary(client, seconds, every):
    """The same by a canary."""
    drill = Drill()
    async with Canary(drill, client, interval=f"{every * 1000:g}ms") as canary:
        with drill.rto.outage(expect_downtime=False):
            before, sent = time.process_time(), canary._stream.sent
            await asyncio.sleep(seconds)
            used, count = time.process_time() - before, canary._stream.sent - sent
    await canary.stop()
    await canary.close()
    return used, count


def shares(rounds, seconds, contenders):
    every, found = 0.05, {name: [] for name, _, _ in contenders}
    for number in range(rounds):
        for name, run, make in contenders if number % 2 else reversed(contenders):
            used, count = asyncio.run(run(make(), seconds, every))
            found[name].append(used / count / every * 100)
    for name, figures in found.items():
        show(f"20 writes/s: {name}", figures, "% of a core")


# -- how late the loop is --------------------------------------------------------------------------


async def lateness(client, seconds):
    """How late the loop is, in milliseconds: median and worst of a sleep of 1 ms."""
    late = []

    async def look():
        loop, until = asyncio.get_running_loop(), time.monotonic() + seconds
        while time.monotonic() < until:
            due = loop.time() + 0.001
            await asyncio.sleep(0.001)
            late.append((loop.time() - due) * 1000)

    if client is None:
        await look()
    else:
        async with Canary(Drill(), client) as canary:
            await look()
        await canary.close()
    late.sort()
    return late[len(late) // 2], late[int(len(late) * 0.99)]


# -- as many as go ---------------------------------------------------------------------------------


async def plain_rate(client, seconds, at_once):
    done, until = 0, time.monotonic() + seconds

    async def go(worker):
        nonlocal done
        number = 0
        while time.monotonic() < until:
            await client.write(f"r{until}-{worker}-{number}", "x" * 64)
            number, done = number + 1, done + 1

    await asyncio.gather(*(go(worker) for worker in range(at_once)))
    await client.close()
    return done / seconds


async def canary_rate(client, seconds, at_once):
    async with Canary(Drill(), client, interval="100us", concurrency=at_once) as canary:
        before = len(canary._stream.acknowledged)
        began = time.monotonic()
        await asyncio.sleep(seconds)
        rate = (len(canary._stream.acknowledged) - before) / (time.monotonic() - began)
    await canary.close()
    return rate


def rates(rounds, seconds, contenders):
    found = {name: [] for name, *_ in contenders}
    for number in range(rounds):
        for name, run, make, at_once in contenders if number % 2 else reversed(contenders):
            found[name].append(asyncio.run(run(make(), seconds, at_once)))
    for name, figures in found.items():
        show(f"most writes/s: {name}", figures, "/s")


def show(what, figures, unit):
    low, middle, high = min(figures), statistics.median(figures), max(figures)
    print(f"{what:<58} {middle:9.3f} {unit:<12} (min {low:.3f}, max {high:.3f}, n={len(figures)})")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4)
    given = parser.parse_args()
    with served() as url, tempfile.TemporaryDirectory() as folder:
        http = partial(http_canary, f"{url}/{{key}}")
        files = partial(folder_canary, folder)
        shares(
            given.rounds,
            given.seconds,
            [
                ("a loop that sleeps", plainly, Nothing),
                ("the canary itself", by_canary, Nothing),
                ("http_canary", by_canary, http),
                ("plain aiohttp", plainly, partial(PlainHttp, url)),
                ("folder_canary", by_canary, files),
                ("plain files in threads", plainly, partial(PlainFolder, folder)),
            ],
        )
        for name, make in (("none", lambda: None), ("http", http), ("folder", files)):
            figures = [
                asyncio.run(lateness(make(), given.seconds / 2)) for _ in range(given.rounds)
            ]
            show(f"loop late, p99 of 1 ms sleeps, canary: {name}", [f[1] for f in figures], "ms")
        rates(
            given.rounds,
            given.seconds / 2,
            [
                ("the canary itself, 64 under way", canary_rate, Nothing, 64),
                ("http_canary, 64 under way", canary_rate, http, 64),
                ("plain aiohttp, 64 workers", plain_rate, partial(PlainHttp, url), 64),
                ("folder_canary, 16 under way", canary_rate, files, 16),
                ("plain files, 16 workers", plain_rate, partial(PlainFolder, folder), 16),
            ],
        )


if __name__ == "__main__":
    main()
