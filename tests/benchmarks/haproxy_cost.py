"""From failure to served traffic: our manager that switches an HAProxy, beside HAProxy's checks.

    python tests/benchmarks/haproxy_cost.py [--rounds 15] [--interval 100] [--fall 2]
        [--others 0] [--only crash,hang]

Both check with the same interval, threshold and timeout. Both are timed from the signal until a
client, which asks the HAProxy again and again, each time on a connection of its own and without a
second try (``retries 0``), has an answer from the standby. Contenders run in turn, each with its
own servers and HAProxy; the manager is in a process of its own. The moments of the disasters are
spread evenly over one interval, the same for all, so that chance favours nobody.

- *haproxy's own checks*: ``check inter fall``, the standby a ``backup``;
- *ours*: no checks of HAProxy's; the manager switches through the runtime API (maint, then ready);
- *ours, watch*: the same with ``watch=True``, and 5 ms of ``fast_interval``.

The target: the median of *ours* is at most 1.1 times that of HAProxy's own checks; crash and hang.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from datetime import timedelta

from failover_cost import answer_of, server, until_answered

from pytest_drdrill import (
    ActivePassiveCluster,
    FailoverManager,
    HAProxyPreset,
    HAProxyServer,
    HAProxyTraffic,
    ServiceEndpoint,
)

HOW = {"crash": signal.SIGKILL, "hang": signal.SIGSTOP}
THEIRS = "haproxy's own checks"
OURS = {"ours": {}, "ours, watch": {"watch": True, "fast_interval": "5ms"}}
MOST = 1.1


async def manage(socket: str, ports: list[int], settings: dict, others: int) -> None:
    """What the manager's own process does: says that it has begun, and goes on until its end."""
    interval = settings["check_interval"]
    pair = [
        ServiceEndpoint(name, f"http://127.0.0.1:{port}", timeout=interval)
        for name, port in zip("ab", ports, strict=False)
    ]
    cluster = ActivePassiveCluster(*pair, switch=HAProxyTraffic(socket, "service"), **settings)
    more = [
        ServiceEndpoint(f"n{number}", f"http://127.1.{number >> 8}.{number & 255}:{ports[2]}")
        for number in range(1, others + 1)
    ]
    async with cluster:
        if more:
            await FailoverManager(more, 3, "1s", jitter="1s").start_monitoring()
            await asyncio.sleep(1)
        print("ready", flush=True)
        await asyncio.sleep(600)


def detect(name: str, how: str, phase: float, given: argparse.Namespace) -> float:
    """Seconds from the signal to the standby's first answer."""
    interval = timedelta(milliseconds=given.interval)
    checks = HAProxyPreset(inter=interval, fall=given.fall, timeout_check=interval)
    with ExitStack() as stack:
        primary, a = stack.enter_context(server(letter="A"))
        _, b = stack.enter_context(server(letter="B"))
        endpoints = [ServiceEndpoint(n, f"http://127.0.0.1:{p}") for n, p in (("a", a), ("b", b))]
        for port, letter in ((a, "A"), (b, "B")):
            until_answered(port, letter)
        own = {"standby": "backup", "checks": checks} if name == THEIRS else {"standby": "out"}
        balancer = stack.enter_context(
            HAProxyServer(endpoints, redispatch=False, answer_within="10s", **own)
        )
        if name != THEIRS:
            ports = [a, b]
            if given.others:
                ports.append(stack.enter_context(server("0.0.0.0", "A"))[1])
            settings = {
                "failure_threshold": given.fall,
                "check_interval": f"{given.interval}ms",
                **OURS[name],
            }
            work = json.dumps([str(balancer.socket), ports, settings, given.others])
            manager = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, __file__, "--apart", work], stdout=subprocess.PIPE, text=True
                )
            )
            stack.callback(manager.kill)
            assert manager.stdout.readline() == "ready\n"
        until_answered(balancer.port, "A")
        time.sleep((2 + phase) * given.interval / 1000)
        failed = time.monotonic()
        primary.send_signal(HOW[how])
        while answer_of(balancer.port, 0.02) != "B":
            if time.monotonic() > failed + 30:
                raise SystemExit(f"{name}, {how}: the standby does not serve")
            time.sleep(0.001)
        return time.monotonic() - failed


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--interval", type=int, default=100, help="milliseconds")
    parser.add_argument("--fall", type=int, default=2)
    parser.add_argument(
        "--others", type=int, default=0, help="endpoints checked each second beside"
    )
    parser.add_argument("--only", default="crash,hang")
    parser.add_argument("--apart", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.apart:
        asyncio.run(manage(*json.loads(given.apart)))
        return
    missed = False
    names = [THEIRS, *OURS]
    beside = f", ours beside {given.others} other endpoints" if given.others else ""
    print(f"every {given.interval} ms, {given.fall} to go down, {given.rounds} rounds{beside}")
    for how in given.only.split(","):
        found: dict[str, list[float]] = {name: [] for name in names}
        for number in range(given.rounds):
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                phase = (number + 0.5) / given.rounds
                found[name].append(detect(name, how, phase, given) * 1000)
        theirs = statistics.median(found[THEIRS])
        for name, values in found.items():
            middle = statistics.median(values)
            ratio = middle / theirs
            verdict = ""
            if name != THEIRS:
                verdict = f"<= {MOST}" if ratio <= MOST else f"<= {MOST}  MISSED"
                missed |= ratio > MOST
            print(
                f"{how:<6} {name:<22} {middle:7.1f} ms (min {min(values):.1f}, mean "
                f"{statistics.fmean(values):.1f}, max {max(values):.1f})  x {ratio:.2f} {verdict}",
                flush=True,
            )
    sys.exit(missed)


if __name__ == "__main__":
    main()
