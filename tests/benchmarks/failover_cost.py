"""What live monitoring costs, and how soon it notices: over loopback, beside HAProxy, in one run.

    python tests/benchmarks/failover_cost.py [--endpoints 10000] [--seconds 30] [--rounds 11]
        [--slow-rounds 3] [--only many,flat,detection]

Contenders run in turn, each in a process of its own, A B A B, and a ratio is the median of the
ratios of one round. The servers that are checked are processes of their own as well, and count as
nobody's cost. The first of them listens on one port of every loopback address, of which there are
16 million, so each endpoint has a host of its own; both ends need a descriptor for each, and the
limit is raised as far as the machine lets this user raise it.

A detection is timed from the signal until a client has an answer from the backup: through HAProxy,
which the client asks again and again, or from where the cluster sends it once it has switched.
HAProxy is left out where it is not installed.

The targets, from the project's own promise:

- 10,000 endpoints every 5 s: no check late by more than 1 s, none failed, at most 0.8 of a core,
  under 300 MB;
- flat out, on one session: at least 5,000 checks a second;
- SIGKILL, a check every 100 ms, watched: a median of at most 10 ms;
- SIGSTOP, beside 500 other checks a second: at most 1.1 times the formula on average, which is
  inter / 2 + n x timeout + (n - 1) x gap.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

from pytest_drdrill import ActivePassiveCluster, FailoverManager, HttpProber, ServiceEndpoint
from pytest_drdrill.failover import RoutingTable
from pytest_drdrill.failover.checks import WatchedEndpoint, probe_in_time
from pytest_drdrill.failover.timing import CheckGrid, phase

# Answers every request with 200 and one letter; prints its port.
SERVER = """
import resource, select, socket, sys
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
answer = b"HTTP/1.1 200 OK\\r\\nContent-Length: 1\\r\\n\\r\\n" + sys.argv[2].encode()
door = socket.socket()
door.bind((sys.argv[1], 0))
door.listen(4096)
door.setblocking(False)
print(door.getsockname()[1], flush=True)
poll, links = select.epoll(), {}
poll.register(door, select.EPOLLIN)
while True:
    for number, _ in poll.poll():
        if number == door.fileno():
            try:
                while True:
                    link, _ = door.accept()
                    links[link.fileno()] = link
                    poll.register(link, select.EPOLLIN)
            except BlockingIOError:
                continue
        link = links[number]
        try:
            asked = link.recv(65536)
            if asked:
                link.send(answer)
                continue
        except ConnectionError:
            pass
        poll.unregister(link)
        del links[number]
        link.close()
"""
RATE_CONFIG = """global
 maxconn 4000
defaults
 mode http
 timeout connect 1s
 timeout client 10s
 timeout server 10s
backend b
 option httpchk GET /health
{servers}
"""
FAILOVER_CONFIG = """defaults
 retries 0
 mode http
 timeout connect 1s
 timeout client 10s
 timeout server 10s
frontend f
 bind 127.0.0.1:{front}
 default_backend b
backend b
 option httpchk GET /health
 {check}
 server a 127.0.0.1:{a} check {options}
 server b 127.0.0.1:{b} check {options} backup
"""
TUNED = "inter 100ms fastinter 20ms downinter 100ms fall 2 rise 2"
OBSERVE = f"{TUNED} observe layer7 error-limit 1 on-error mark-down"
CHECK = "timeout check 100ms"
HAPROXY = {  # options, the line for `timeout check`, whether a round takes seconds
    "haproxy default (2 s, fall 3)": ("", "", True),
    "haproxy tuned (100/20 ms, fall 2)": (TUNED, CHECK, False),
    "haproxy tuned, observe layer7": (OBSERVE, CHECK, False),
}
OURS = {  # fast_interval, watch, beside 500 others
    "ours (100/20 ms, fall 2)": ("20ms", False, False),
    "ours (100/1 ms, fall 2), watch": ("1ms", True, False),
    "ours, watch, beside 500 others": ("1ms", True, True),
}
HOW = {"crash": signal.SIGKILL, "hang": signal.SIGSTOP}
FORMULA_S = 0.1 / 2 + 2 * 0.1  # inter / 2 + n x timeout; the timeout is longer than the gap
OTHERS = 500


# What a process of its own does.


class LateProber(HttpProber):
    """Notes how late each check begins, and which ones fail."""

    def __init__(self, interval: float, jitter: timedelta) -> None:
        super().__init__()
        self.interval, self.jitter = interval, jitter
        self.grids: dict[str, CheckGrid] = {}
        self.slots: dict[str, int] = {}
        self.late: list[float] = []
        self.failed: list[str] = []

    async def open(self) -> None:
        await super().open()
        self.begun = time.monotonic()

    async def probe(self, endpoint):
        name, now = endpoint.name, time.monotonic()
        grid = self.grids.get(name)
        if grid is None:
            begun = self.begun + phase(0, name, self.jitter)
            grid = self.grids[name] = CheckGrid(begun, self.interval)
        slot = self.slots.get(name, 0)
        self.late.append(now - grid.at(slot))
        result = await super().probe(endpoint)
        self.slots[name] = grid.after(slot, time.monotonic())
        if not result.healthy:
            self.failed.append(result.reason)
        return result


def addressed(port: int, count: int) -> list[ServiceEndpoint]:
    """Endpoints with a loopback address each."""
    hosts = (f"127.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(1, count + 1))
    return [ServiceEndpoint(host, f"http://{host}:{port}") for host in hosts]


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


async def watch_many(port: int, count: int, seconds: float, spread: bool) -> dict:
    """A manager of many endpoints: what its checks cost once all have been checked."""
    interval = 5.0
    jitter = timedelta(seconds=interval if spread else 0)
    prober = LateProber(interval, jitter)
    manager = FailoverManager(addressed(port, count), 3, "5s", jitter=jitter, prober=prober)
    begun, spent = time.monotonic(), cpu_s()
    async with manager:
        first_round_s, first_cpu_s = time.monotonic() - begun, cpu_s() - spent
        first_late = max(prober.late)
        await asyncio.sleep(1)
        prober.late.clear()
        begun, spent = time.monotonic(), cpu_s()
        await asyncio.sleep(seconds)
        wall, cpu, late = time.monotonic() - begun, cpu_s() - spent, sorted(prober.late)
        memory = resident_mib()
    down = [each for each in manager.events if each.kind == "endpoint_unhealthy"]
    return {
        "first_round_s": first_round_s,
        "first_cpu_s": first_cpu_s,
        "first_late_s": first_late,
        "checks": len(late),
        "rate": len(late) / wall,
        "core": cpu / wall,
        "us": cpu / len(late) * 1e6,
        "late_p99_s": late[len(late) * 99 // 100],
        "late_s": late[-1],
        "mib": memory,
        "failed": len(prober.failed),
        "unhealthy": len(down),
    }


async def flat_out(how: str, port: int, count: int, seconds: float, width: int) -> dict:
    """Checks as fast as they go, so many at once, round robin over the endpoints."""
    import aiohttp

    endpoints = addressed(port, count)
    made, bad, at = 0, 0, 0
    async with contextlib.AsyncExitStack() as stack:
        if how == "ours":
            from pytest_drdrill.clock import RealClock

            prober, clock = HttpProber(), RealClock()
            await prober.open()
            stack.push_async_callback(prober.close)
            watched = [WatchedEndpoint(each, 5.0, (3, 2), None) for each in endpoints]

            async def check(number: int) -> bool:
                await prober.take_turn()
                result = await probe_in_time(watched[number], prober, clock)
                watched[number].observe(result, clock.monotonic())
                return result.healthy
        else:
            session = await stack.enter_async_context(
                aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
            )

            async def check(number: int) -> bool:
                async with contextlib.AsyncExitStack() as own:
                    mine = session
                    if how == "aiohttp, a session each":
                        mine = await own.enter_async_context(aiohttp.ClientSession())
                    async with mine.get(endpoints[number].health_url) as answer:
                        await answer.read()
                        return answer.status == 200

        async def work(end: float) -> None:
            nonlocal made, bad, at
            while time.perf_counter() < end:
                at += 1
                if await check(at % count):
                    made += 1
                else:
                    bad += 1

        begun, spent = time.perf_counter(), cpu_s()
        await asyncio.gather(*(work(begun + seconds) for _ in range(width)))
        wall, cpu = time.perf_counter() - begun, cpu_s() - spent
    return {"rate": made / wall, "us": cpu / made * 1e6, "mib": resident_mib(), "failed": bad}


async def take_over(a: int, b: int, fast: str, watch: bool, others: int) -> None:
    """Says that it is ready, then the second in which a client was served by the backup."""
    more = FailoverManager(addressed(others, OTHERS), 3, "1s", jitter="1s") if others else None
    pair = [
        ServiceEndpoint(name, f"http://127.0.0.1:{port}", timeout="100ms")
        for name, port in (("a", a), ("b", b))
    ]
    table = RoutingTable()
    settings = {"failure_threshold": 2, "check_interval": "100ms", "fast_interval": fast}
    if watch:
        settings["watch"] = True
    async with contextlib.AsyncExitStack() as stack:
        if more is not None:
            await stack.enter_async_context(more)
        cluster = ActivePassiveCluster(*pair, switch=table, **settings)
        await stack.enter_async_context(cluster)
        await asyncio.sleep(0.3)
        print("ready", flush=True)
        await cluster.wait_until_active("b")
        assert answer_of(int(cluster.route().url.rpartition(":")[2])) == "B"
        print(time.monotonic(), flush=True)


# What starts and measures them.


def answer_of(port: int, patience_s: float = 0.25) -> str | None:
    """The letter that a fresh connection is answered with."""
    try:
        with socket.create_connection(("127.0.0.1", port), patience_s) as link:
            link.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            got = b""
            while not got.partition(b"\r\n\r\n")[2] and (part := link.recv(4096)):
                got += part
            return got[-1:].decode() if got[9:12] == b"200" else None
    except OSError:
        return None


def until_answered(port: int, letter: str) -> None:
    end = time.monotonic() + 10
    while answer_of(port) != letter:
        if time.monotonic() > end:
            raise SystemExit(f"port {port} does not answer {letter}")
        time.sleep(0.02)


@contextlib.contextmanager
def server(address: str = "127.0.0.1", letter: str = "A"):
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, address, letter], stdout=subprocess.PIPE, text=True
    )
    try:
        yield process, int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def apart(*arguments: object) -> subprocess.Popen:
    """This file again, in a process of its own."""
    command = [sys.executable, __file__, "--apart", json.dumps(arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def told(*arguments: object) -> dict:
    with apart(*arguments) as process:
        said = process.stdout.read()
    if process.returncode:
        raise SystemExit(f"{arguments[0]} exited {process.returncode}")
    return json.loads(said)


@contextlib.contextmanager
def haproxy(config: str):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "haproxy.cfg")
        path.write_text(config)
        process = subprocess.Popen(["haproxy", "-q", "-f", path], stderr=subprocess.DEVNULL)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def free_port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return door.getsockname()[1]


def show(what: str, values: list[float], unit: str, target: str, *, met: bool = True) -> None:
    low, middle, high = min(values), statistics.median(values), max(values)
    spread = f"(min {low:.3f}, max {high:.3f}, n={len(values)})"
    missed = "" if met else "  MISSED"
    print(f"{what:<48} {middle:10.3f} {unit:<8} {spread:<40} {target}{missed}", flush=True)


def many(count: int, seconds: float) -> None:
    print(f"\n{count:,} endpoints every 5 s, for {seconds:.0f} s after the first round")
    for spread, way in ((True, "spread by the jitter"), (False, "all at once")):
        with server("0.0.0.0", "A") as (_, port):
            found = told("many", port, count, seconds, spread)
        print(
            f"  {way}: {found['us']:.0f} us CPU a check; the first round, which connects, took "
            f"{found['first_round_s']:.2f} s, {found['first_cpu_s']:.2f} s of it CPU"
        )
        most_late = 1 if spread else 0
        limits = (
            ("checks a second", found["rate"], "/s", 0, ""),
            ("late, the 99th of a hundred", found["late_p99_s"], "s", 0, ""),
            ("late, the worst of the first round", found["first_late_s"], "s", most_late, "<= 1"),
            ("late, the worst since", found["late_s"], "s", most_late, "<= 1"),
            ("of a core", found["core"], "", 0.8 if spread else 0, "<= 0.8"),
            ("memory", found["mib"], "MiB", 300e6 / 2**20, "<= 286 (300 MB)"),
            ("failed checks", found["failed"], "", 0.5, "none"),
        )
        for what, value, unit, most, target in limits:
            show(
                f"    {what}", [value], unit, target if most else "", met=not most or value <= most
            )


def haproxy_rate(port: int, count: int, seconds: float) -> dict:
    """Its checks are counted by what the system says of its connections: one for each."""
    servers = "\n".join(
        f" server s{n} 127.{n >> 16}.{n >> 8 & 255}.{n & 255}:{port} check inter 20ms"
        for n in range(1, count + 1)
    )

    def opened() -> int:
        lines = [line.split() for line in Path("/proc/net/snmp").read_text().splitlines()]
        names, values = (line for line in lines if line[0] == "Tcp:")
        return int(values[names.index("ActiveOpens")])

    front = f"listen l\n bind 127.0.0.1:{free_port()}\n"
    with haproxy(RATE_CONFIG.format(servers=servers) + front) as process:
        time.sleep(2)
        before, begun, spent = opened(), time.perf_counter(), cpu_of(process.pid)
        time.sleep(seconds)
        made, wall = opened() - before, time.perf_counter() - begun
        cpu = cpu_of(process.pid) - spent
    return {"rate": made / wall, "us": cpu / max(made, 1) * 1e6}


def cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def flat(rounds: int, seconds: float, count: int = 500, width: int = 100) -> None:
    print(f"\nflat out: {count} endpoints, {width} checks at once, {seconds:.0f} s each")
    names = ["ours", "aiohttp, one session", "aiohttp, a session each"]
    names += ["haproxy"] * bool(shutil.which("haproxy"))
    found: dict[str, list[dict]] = {name: [] for name in names}
    with server("0.0.0.0", "A") as (_, port):
        for number in range(rounds):
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                if name == "haproxy":
                    found[name].append(haproxy_rate(port, count, seconds))
                else:
                    found[name].append(told("flat", name, port, count, seconds, width))
    for name in names:
        rates = [each["rate"] for each in found[name]]
        target = ">= 5000" if name == "ours" else ""
        met = name != "ours" or statistics.median(rates) >= 5000
        show(f"  {name}", rates, "checks/s", target, met=met)
        show("    its CPU", [each["us"] for each in found[name]], "us/check", "")
    for name in names[1:]:
        pairs = zip(found["ours"], found[name], strict=True)
        show(f"  ours over {name}", [a["rate"] / b["rate"] for a, b in pairs], "x", "")
    if any(each.get("failed") for each in found["ours"]):
        print("  failed checks  MISSED")


def detect(name: str, how: str, others: int) -> float:
    """Seconds from the signal to the backup's first answer."""
    with server(letter="A") as (primary, a), server(letter="B") as (_, b):
        until_answered(a, "A")
        until_answered(b, "B")
        if name in HAPROXY:
            options, check, slow = HAPROXY[name]
            front = free_port()
            config = FAILOVER_CONFIG.format(front=front, a=a, b=b, options=options, check=check)
            with haproxy(config):
                until_answered(front, "A")
                time.sleep(0.5 + random.random() * (2 if slow else 0.3))
                failed = time.monotonic()
                primary.send_signal(HOW[how])
                while answer_of(front, 0.02) != "B" and time.monotonic() < failed + 30:
                    time.sleep(0.001)
                return time.monotonic() - failed
        fast, watch, beside = OURS[name]
        with apart("take_over", a, b, fast, watch, others if beside else 0) as process:
            assert process.stdout.readline() == "ready\n"
            time.sleep(0.2 + random.random() * 0.3)
            failed = time.monotonic()
            primary.send_signal(HOW[how])
            return float(process.stdout.readline()) - failed


def detection(rounds: int, slow_rounds: int) -> None:
    print("\nfrom the signal to the backup's first answer")
    names = [*OURS, *(HAPROXY if shutil.which("haproxy") else ())]
    found: dict[tuple[str, str], list[float]] = {}
    with server("0.0.0.0", "A") as (_, others):
        for number in range(rounds):
            for name in names:
                if name in HAPROXY and HAPROXY[name][2] and number >= slow_rounds:
                    continue
                for how in HOW:
                    found.setdefault((name, how), []).append(detect(name, how, others))
    for (name, how), values in found.items():
        target, met = "", True
        middle = statistics.median(values)
        if how == "crash" and name in OURS and OURS[name][1]:
            target, met = "<= 10", middle <= 0.010
        elif how == "hang" and name in OURS:
            most = 1.1 * FORMULA_S
            mean = statistics.fmean(values)
            target, met = f"mean {mean * 1000:.1f} <= {most * 1000:.0f}", mean <= most
        show(f"  {name}, {how}", [each * 1000 for each in values], "ms", target, met=met)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--endpoints", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--slow-rounds", type=int, default=3)
    parser.add_argument("--only", default="many,flat,detection")
    parser.add_argument("--apart", help=argparse.SUPPRESS)
    given = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if given.apart:
        what, *arguments = json.loads(given.apart)
        work = {"many": watch_many, "flat": flat_out, "take_over": take_over}[what]
        result = asyncio.run(work(*arguments))
        if result is not None:
            print(json.dumps(result))
        return
    if hard < given.endpoints + 100:
        print(f"only {hard} descriptors may be open here: {hard - 100} endpoints, not more")
        given.endpoints = hard - 100
    if not shutil.which("haproxy"):
        print("haproxy is not installed: it is left out")
    only = given.only.split(",")
    if "many" in only:
        many(given.endpoints, max(given.seconds, 10))
    if "flat" in only:
        flat(min(given.rounds, 5), 3)
    if "detection" in only:
        detection(given.rounds, given.slow_rounds)


if __name__ == "__main__":
    main()
