"""What virtual time costs: checks a CPU-second beside peers, days of them, and an empty drill.

    python tests/benchmarks/simulated_cost.py [--rounds 7] [--checks 100000] [--tests 2000]
        [--pairs 11]

CPU time counts. Contenders run in turn in one warm process, their order turning round, and a ratio
is the median of the ratios of neighbouring runs, so that slow drift of the machine cancels out.

All do the same checks: so many endpoints, each at its own phase every 30 s, one that is asked
answers at once, and its answers are counted in a row. The asyncio loops bound each check by a
timeout, as anybody would; ours is the real manager with all that it does besides. Peers that are
not installed are left out: simpy, looptime and aiotools (`pip install simpy looptime aiotools`).

The targets, from the project's own promise:

- every check made: at least 40,000 a CPU-second;
- 10 endpoints, checked every 30 s for 30 days, with an outage a day: under 0.2 s;
- 1,000 endpoints likewise, with 1,000 outages: under 2 s;
- both through the jump over quiet time, with the events of the run that makes every check;
- an empty simulated drill: at most 300 us more than an empty ordinary test; what its evidence costs
  in a file stands beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import heapq
import importlib.util
import itertools
import random
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from plugin_cost import in_turn, show, start_cost, write_suite

from pytest_drdrill import FailoverManager, SimulatedProber, SimulatedWorld

if TYPE_CHECKING:
    from collections.abc import Callable

INTERVAL = 30
TIMEOUT = 5
DAY = 86_400
MANY = 1000
"""Endpoints of the comparison with peers."""


def phases(endpoints: int) -> list[float]:
    chance = random.Random(7)
    return [chance.randrange(INTERVAL * 1000) / 1000 for _ in range(endpoints)]


# Peers: each makes so many checks of so many endpoints.


class Counted:
    """Answers in a row, which is what each contender makes of a check."""

    def __init__(self) -> None:
        self.successes = self.failures = self.made = 0

    def observe(self, healthy: bool) -> None:
        self.made += 1
        if healthy:
            self.failures = 0
            self.successes += 1
        else:
            self.successes = 0
            self.failures += 1


def by_heapq(endpoints: int, checks: int) -> int:
    """Plain callbacks from a heap: as little as anything written in Python can do."""
    counts = [Counted() for _ in range(endpoints)]
    numbers = itertools.count()
    heap: list[tuple[float, int, Callable[[float], None]]] = []

    def check_of(counted: Counted) -> Callable[[float], None]:
        def check(now: float) -> None:
            counted.observe(healthy=True)
            heapq.heappush(heap, (now + INTERVAL, next(numbers), check))

        return check

    for phase, counted in zip(phases(endpoints), counts, strict=True):
        heapq.heappush(heap, (phase, next(numbers), check_of(counted)))
    for _ in range(checks):
        now, _, check = heapq.heappop(heap)
        check(now)
    return sum(each.made for each in counts)


def by_simpy(endpoints: int, checks: int) -> int:
    import simpy

    counts = [Counted() for _ in range(endpoints)]
    world = simpy.Environment()

    def check_forever(phase: float, counted: Counted):
        yield world.timeout(phase)
        while True:
            counted.observe(healthy=True)
            yield world.timeout(INTERVAL)

    for phase, counted in zip(phases(endpoints), counts, strict=True):
        world.process(check_forever(phase, counted))
    world.run(until=checks // endpoints * INTERVAL)
    return sum(each.made for each in counts)


async def checked_by_asyncio(endpoints: int, checks: int) -> int:
    counts = [Counted() for _ in range(endpoints)]
    loop = asyncio.get_running_loop()
    begun = loop.time()

    async def probe() -> bool:
        return True

    async def check_forever(phase: float, counted: Counted) -> None:
        for slot in range(checks // endpoints):
            await asyncio.sleep(begun + phase + slot * INTERVAL - loop.time())
            try:
                async with asyncio.timeout(TIMEOUT):
                    healthy = await probe()
            except TimeoutError:
                healthy = False
            counted.observe(healthy)

    waits = zip(phases(endpoints), counts, strict=True)
    await asyncio.gather(*(check_forever(*each) for each in waits))
    return sum(each.made for each in counts)


def by_looptime(endpoints: int, checks: int) -> int:
    import looptime

    loop = looptime.new_event_loop(noop_cycles=0, idle_timeout=1)
    try:
        return loop.run_until_complete(checked_by_asyncio(endpoints, checks))
    finally:
        loop.close()


def by_aiotools(endpoints: int, checks: int) -> int:
    from aiotools import VirtualClock

    async def main() -> int:
        with VirtualClock().patch_loop():
            return await checked_by_asyncio(endpoints, checks)

    return asyncio.run(main())


# Ours: the real manager over the simulated world.


class Run:
    """A manager that checks endpoints for so long, while some of them fail and recover."""

    def __init__(
        self, endpoints: int, seconds: float, *, outages: int = 0, every_check: bool = False
    ) -> None:
        chance = random.Random(1)
        self.made = 0
        with SimulatedWorld(every_check=every_check) as world:
            made = world.endpoints(*(f"e{number}" for number in range(endpoints)))
            for _ in range(outages):
                each, at = chance.choice(made), chance.randrange(int(seconds))
                each.fail_at(f"{at}s")
                each.recover_at(f"{at + chance.randint(1, 600)}s")
            manager = FailoverManager(
                made,
                check_interval=f"{INTERVAL}s",
                jitter=f"{INTERVAL}s",
                prober=SimulatedProber(),
                clock=world.clock,
            )

            async def main() -> None:
                async with manager:
                    await world.clock.sleep(seconds - world.clock.monotonic())

            world.run(main())
        self.checks = sum(
            int((seconds - each) // INTERVAL) + 1 for each in self.phases_of(manager, world.seed)
        )
        self.events = manager.events

    @staticmethod
    def phases_of(manager: FailoverManager, seed: int) -> list[float]:
        from datetime import timedelta

        from pytest_drdrill.failover.timing import phase

        jitter = timedelta(seconds=INTERVAL)
        return [phase(seed, each.name, jitter) for each in manager.endpoints]


def ours_in_full(endpoints: int, checks: int) -> int:
    return Run(endpoints, checks // endpoints * INTERVAL, every_check=True).checks


CONTENDERS = {
    "ours, every check made": ours_in_full,
    "heapq and callbacks": by_heapq,
    "simpy": by_simpy,
    "aiotools": by_aiotools,
    "looptime": by_looptime,
}


def cpu(call: Callable[[], object]) -> tuple[float, object]:
    gc.collect()
    begun = time.process_time()
    found = call()
    return time.process_time() - begun, found


def beside_peers(rounds: int, checks: int) -> None:
    names = []
    for name in CONTENDERS:
        library = name.split(maxsplit=1)[0].rstrip(",")
        if library in ("simpy", "aiotools", "looptime") and not importlib.util.find_spec(library):
            print(f"{name}: left out, as it is not installed")
        else:
            names.append(name)
    rates: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds + 1):
        for name in names if number % 2 else reversed(names):
            # A slow one need not do all of them.
            wanted = checks // 10 if name == "looptime" else checks
            seconds, made = cpu(lambda call=CONTENDERS[name], wanted=wanted: call(MANY, wanted))
            if number:  # the first round loads modules
                rates[name].append(made / seconds / 1000)
    ours = rates[names[0]]
    for name in names:
        target = ">= 40" if rates[name] is ours else "-"
        show(f"{name}, thousand checks a CPU-second", rates[name], "k/s", target)
    for name in names[1:]:
        ratios = [a / b for a, b in zip(ours, rates[name], strict=True)]
        show(f"  ours, every check made / {name}", ratios, "x", "-")


def over_days(rounds: int) -> None:
    for endpoints, outages, most in ((10, 30, 0.2), (MANY, 1000, 2.0)):
        figures = []
        checks = 0
        for _ in range(rounds):
            seconds, run = cpu(lambda e=endpoints, o=outages: Run(e, 30 * DAY, outages=o))
            figures.append(seconds)
            checks = run.checks
        what = f"{endpoints:,} endpoints for 30 days, {checks / 1e6:.1f} million checks"
        show(what, figures, "s", f"< {most}")
    passed, every = (
        Run(100, DAY, outages=200, every_check=every_check).events for every_check in (False, True)
    )
    if passed != every:
        raise SystemExit("the run that passes over quiet checks has other events than the full one")
    print(f"the same {len(every)} events as with every check made, of 100 endpoints in a day")


def empty_drill(tests: int, pairs: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        report = f"--dr-report={folder}/evidence.json"
        plain = {"mark": "@pytest.mark.plain(1)\n"}
        marked = {
            "mark": '@pytest.mark.dr_service("x")\nasync ',
            "asks": "simulated_endpoints",
        }
        one = root / "one"
        one.mkdir()
        start_ms = start_cost(
            write_suite(one / "plain", 1, **plain),
            write_suite(one / "drill", 1, **marked),
            folder,
            pairs,
        )
        drills = str(write_suite(root / "drills", tests, **marked))
        base, ours, told = in_turn(
            pairs, [[str(write_suite(root / "plain", tests, **plain))], [drills], [drills, report]]
        )
    for what, figures, start_us, target in (
        ("an empty simulated drill over an empty test", ours, 0, "<= 300"),
        ("  with evidence in a file, its share of the start", told, start_ms * 1e3, "-"),
    ):
        costs = [((a - b) * 1e6 + start_us) / tests for a, b in zip(figures, base, strict=True)]
        show(what, costs, "us", target)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--checks", type=int, default=100_000)
    parser.add_argument("--tests", type=int, default=2000)
    parser.add_argument("--pairs", type=int, default=11)
    given = parser.parse_args()
    if given.rounds:
        beside_peers(given.rounds, given.checks)
        over_days(given.rounds)
    if given.pairs:
        empty_drill(given.tests, given.pairs)


if __name__ == "__main__":
    main()
