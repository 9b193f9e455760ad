"""Passing over the checks that find the same again changes nothing but the time that it takes."""

import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from pytest_drdrill import (
    ActiveActiveCluster,
    ActivePassiveCluster,
    DeadlockError,
    FailoverManager,
    FailoverTimeoutError,
    FlapDamping,
    HorizonError,
    MonitoringFailed,
    NotMonitoringError,
    SimulatedProber,
    SimulatedWorld,
    VirtualClock,
    simulate,
)
from pytest_drdrill.simulation import SimulatedEndpoint


class Asking(SimulatedProber):
    """Asks each time, as a prober of somebody's own does."""

    __slots__ = ()


# A random world: what is in it, and what happens when. Times are on one coarse grid, the intervals
# of checks too, so that much happens at equal instants, whose order must stay.

SECONDS = st.integers(0, 80).map(lambda n: n * 5) | st.integers(0, 400)
# How it comes to happen at its time: by a timer set at first, shortly before, step by step, in a
# plain callback of the loop, or some turns of the loop after its instant began.
HOW = st.sampled_from(["early", "late", "steps", "callback", "turns"])
TOLD = st.sampled_from(
    [
        *("fail", "fail", "silent", "recover", "recover", "slow", "slower", "flap", "flap-fast"),
        *("plan-failure", "plan-recovery", "plan-silence", "flap-silent", "flap-silent"),
    ]
)


@dataclass(frozen=True)
class Happening:
    at: int
    how: str
    what: str
    who: int
    more: int = 0


@dataclass(frozen=True)
class Managed:
    kind: str
    endpoints: tuple[int, ...]
    settings: dict = field(hash=False)
    at: int = 0
    stops: int | None = None
    again: int | None = None
    callback: float | None = None
    breaks: int | None = None


HAPPENINGS = st.builds(Happening, SECONDS, HOW, TOLD, st.integers(0, 5), st.integers(1, 60))
LOOKS = st.builds(Happening, SECONDS, HOW, st.sampled_from(["look", "wait"]), st.integers(0, 5))


@st.composite
def managers(draw):
    interval = draw(st.sampled_from([5, 10, 10, 15, 20, 30]))
    given = {
        "check_interval": f"{interval}s",
        "failure_threshold": draw(st.sampled_from([1, 1, 2, 3])),
        "recovery_threshold": draw(st.sampled_from([1, 1, 2, 3])),
        "jitter": draw(st.sampled_from(["0s", "0s", "0s", "5ms", f"{interval}s"])),
        "seed": draw(st.integers(0, 3)),
        "fast_interval": draw(st.sampled_from([None, None, "1s", "3s", "5s"])),
    }
    if draw(st.booleans()):
        given["flap_damping"] = FlapDamping(1.5, 0.5, "1m", "5m")
    kind = draw(st.sampled_from(["manager", "manager", "passive", "active"]))
    if kind != "active":
        policy = draw(st.sampled_from(["automatic", "manual", "delayed"]))
        given |= {"failback": policy}
        if policy == "delayed":
            given["failback_delay"] = draw(st.sampled_from(["20s", "45s", "1m"]))
    return Managed(
        kind,
        tuple(draw(st.permutations(range(6)))[: draw(st.integers(2, 6))]),
        given,
        draw(st.sampled_from([0, 0, 0, 5, 12])),
        draw(st.none() | SECONDS),
        draw(st.none() | st.just(5)),
        draw(st.sampled_from([None, 0.0, 5.0])),
        draw(st.none() | st.integers(0, 5)),
    )


@st.composite
def planned(draw):
    """What is planned from the start on, and looks at the instants at which it shows."""
    found = []
    for who in range(draw(st.integers(0, 3))):
        at = 0
        for what in ("plan-failure", "plan-recovery") * draw(st.integers(0, 2)):
            at += draw(st.integers(1, 150))
            how = "plan-silence" if what == "plan-failure" and draw(st.booleans()) else what
            found.append(Happening(0, "callback", how, who, at))
            for grid in draw(st.sets(st.sampled_from([10, 15, 20, 30]), max_size=2)):
                shows = (at // grid + 1) * grid
                found.append(Happening(shows, draw(HOW), "look", who))
    return found


WORLDS = st.tuples(
    st.lists(managers(), min_size=1, max_size=3),
    st.lists(HAPPENINGS, max_size=8) | st.just([]),
    st.tuples(st.lists(LOOKS, max_size=4), planned()).map(lambda each: each[0] + each[1]),
    st.sampled_from([1, 1, 7]),  # how many times slower all happens than it is checked
    st.booleans(),
    st.sampled_from(["4s", "5s"]),  # with the second a check may end when another one begins
)


class Life:
    """One run of a random world, and all that can be seen of it, in order."""

    def __init__(self, drawn, *, prober=SimulatedProber, every_check=False):
        self.managed, self.happenings, self.looks, self.slower, self.sync, self.timeout = drawn
        self.seen = []
        self.made = 0
        with SimulatedWorld(5, every_check=every_check) as self.world:
            self.clock = self.world.clock
            self.endpoints = self.world.endpoints(*"abcdef", timeout=self.timeout)
            self.monitors = [self.monitor(n, each, prober()) for n, each in enumerate(self.managed)]
            end = 410 * self.slower
            if self.sync:  # as a drill that passes time itself
                self.world.run(self.begin())
                self.clock.block(end / 2)
                self.see("halfway", self.statuses())
                self.clock.block(end / 2)
                self.world.run(self.end())
            else:
                self.world.run(self.live(end))
        for monitor in self.monitors:
            self.see("counts", [self.counts(each) for each in monitor._watched])
        self.see("in the end", self.statuses())
        self.seen.append(list(self.world.trace))

    def see(self, *what):
        self.seen.append((self.clock.monotonic(), *what))

    @staticmethod
    def counts(watched):
        tracker = watched.tracker
        return tracker.status, tracker.successes, tracker.failures, watched.last_failure

    def statuses(self):
        return [
            [monitor.get_endpoint_status(each).value for each in monitor.endpoints]
            + [monitor.gets_traffic(each) for each in monitor.endpoints]
            for monitor in self.monitors
        ]

    def monitor(self, number, managed, prober):
        endpoints = [self.endpoints[each] for each in managed.endpoints]
        more = managed.settings | {"prober": prober, "clock": self.clock}

        def on_event(event):
            self.see(number, event)
            # Whoever is told may tell the world something in that very turn.
            if managed.breaks is not None and event.kind == "endpoint_unhealthy":
                self.endpoints[managed.breaks].fail()

        more["on_event"] = on_event
        if managed.kind == "manager":
            monitor = FailoverManager(endpoints, **more)
        elif managed.kind == "passive":
            endpoints.sort(key=lambda each: each.priority)
            monitor = ActivePassiveCluster(*endpoints[:2], **more)
        else:
            monitor = ActiveActiveCluster(endpoints, **more)

        async def callback(old, new):
            self.see(number, "told", repr(old), repr(new))
            await self.clock.sleep(managed.callback)
            self.see(number, "has told")

        if managed.callback is not None and managed.kind != "active":
            monitor.add_failover_callback(callback)
        checked = monitor._checked

        def count(*args):
            self.made += 1
            checked(*args)

        monitor._checked = count
        return monitor

    async def begin(self):
        loop = asyncio.get_running_loop()
        self.tasks = []
        for happening in (*self.happenings, *self.looks):
            if happening.how == "callback" and happening.what != "wait":
                loop.call_at(happening.at * self.slower, self.happen, happening)
            else:
                self.tasks.append(loop.create_task(self.bring_about(happening)))
        for number, managed in enumerate(self.managed):
            self.tasks.append(loop.create_task(self.manage(number, managed)))

    async def live(self, end):
        await self.begin()
        await self.clock.sleep(end)
        await self.end()

    async def end(self):
        for task in self.tasks:
            task.cancel()
        await asyncio.wait(self.tasks)
        for monitor in self.monitors:
            await monitor.stop_monitoring()

    async def manage(self, number, managed):
        monitor = self.monitors[number]
        await self.clock.sleep(managed.at)
        await monitor.start_monitoring()
        if managed.stops is not None:
            await self.clock.sleep(managed.stops * self.slower)
            await monitor.stop_monitoring()
            if managed.again is not None:
                await self.clock.sleep(managed.again)
                await monitor.start_monitoring()

    async def bring_about(self, happening):
        at, clock = happening.at * self.slower, self.clock
        if happening.how == "late":
            await clock.sleep(max(at - 5, 0))
            await clock.sleep(at - clock.monotonic())
        elif happening.how == "steps":
            while clock.monotonic() < at:
                await clock.sleep(min(5, at - clock.monotonic()))
        else:
            await clock.sleep(at)
        if happening.how == "turns":
            for _ in range(happening.who):
                await asyncio.sleep(0)
        if happening.what == "wait":
            await self.wait(happening.who)
        else:
            self.happen(happening)

    async def wait(self, who):
        monitor = self.monitors[who % len(self.monitors)]
        if isinstance(monitor, ActiveActiveCluster):
            return
        target = monitor.endpoints[who % len(monitor.endpoints)]
        try:
            await monitor.wait_until_active(target, timeout="50s")
            self.see("active", target.name)
        except (FailoverTimeoutError, NotMonitoringError) as error:
            self.see(str(error))

    def happen(self, happening):
        endpoint, what, by = self.endpoints[happening.who], happening.what, happening.more
        ahead = f"{int(self.clock.monotonic()) + by * self.slower}s"
        match what:
            case "look":
                self.see("statuses", self.statuses())
            case "fail" | "recover":
                getattr(endpoint, what)()
            case "silent":
                endpoint.fail("silent")
            case "slow" | "slower":
                endpoint.slow("2s" if what == "slow" else "6s")
            case "flap" | "flap-fast":
                endpoint.flap(f"{by * (2 if what == 'flap' else 1)}s")
            case "flap-silent":
                endpoint.flap(f"{by * 4}s", "silent")
            case "plan-failure" | "plan-silence":
                endpoint.fail_at(ahead, "silent" if what == "plan-silence" else "refused")
            case "plan-recovery":
                endpoint.recover_at(ahead)


@given(WORLDS)
@settings(max_examples=60)
def test_all_is_as_if_every_check_were_made(drawn):
    passed = Life(drawn)
    every = Life(drawn, every_check=True)
    asked = Life(drawn, prober=Asking)
    assert every.seen == asked.seen
    assert passed.seen == every.seen
    assert passed.made <= every.made == asked.made
    event(f"of the checks {round(10 * passed.made / max(every.made, 1))} in ten were made")


DAY = 86_400


def manager_of(world, endpoints, **more):
    """A manager that keeps the moments of the checks that it makes."""
    settings = {"prober": SimulatedProber(), "clock": world.clock} | more
    manager = FailoverManager(endpoints, **settings)
    manager.made, checked = [], manager._checked

    def keep(watched, result):
        manager.made.append((world.clock.monotonic(), watched.endpoint.name))
        checked(watched, result)

    manager._checked = keep
    return manager


def counts(manager):
    return [(each.tracker.successes, each.tracker.failures) for each in manager._watched]


def test_quiet_time_takes_no_check_and_all_of_them_count():
    async def main(world):
        a, b = world.endpoints("a", "b")
        a.fail_at("10d")
        async with manager_of(world, [a, b]) as manager:
            await world.clock.sleep(9 * DAY + 1)
            b.fail()  # one that is noticed between two checks
            await manager.wait_until_active("a")
            await world.clock.sleep(21 * DAY)
        return manager

    manager = simulate(main)
    # Of each one: two that settle it, and three from its failure on.
    assert sorted(manager.made) == [
        *((at, name) for at in (0, 30) for name in "ab"),
        *((9 * DAY + each, "b") for each in (30, 60, 90)),
        *((10 * DAY + each, "a") for each in (0, 30, 60)),
    ]
    assert counts(manager) == [(0, 20 * DAY // 30 + 1), (0, 21 * DAY // 30)]


def test_a_wait_for_what_never_comes_ends_where_the_full_run_does():
    def end(*, every_check):
        async def main(world):
            a, b = world.endpoints("a", "b")
            a.fail_at("36h")
            settings = {"check_interval": "1h", "failback": "manual"}
            async with manager_of(world, [a, b], **settings) as manager:
                await manager.wait_until_active(b)
                ends.append(manager)
                await manager.wait_until_active(a)

        ends = []
        with pytest.raises(HorizonError) as caught:
            simulate(main, every_check=every_check)
        text = str(caught.value)
        assert "Task-1: main" in text.splitlines()[1]
        assert "wait_until_active" in text.splitlines()[1]
        return text, ends[0].events, counts(ends[0]), len(ends[0].made)

    passed, every = end(every_check=False), end(every_check=True)
    assert passed[0].splitlines()[:1] == every[0].splitlines()[:1]
    assert passed[0].endswith("and the checks of 2 endpoints, which find the same for ever")
    assert passed[1:3] == every[1:3]
    assert every[3] == 2 * (366 * 24 + 1)
    assert passed[3] < 20


def test_checks_that_are_over_keep_no_deadlock_from_being_seen():
    async def main(world):
        async with manager_of(world, world.endpoints("a")):
            await world.clock.sleep(DAY)
        await asyncio.Event().wait()

    with pytest.raises(DeadlockError, match=r"^waiting .* at 1d of "):
        simulate(main)


class Derived(SimulatedEndpoint):
    """Answers in a way of its own."""

    async def request(self):
        await super().request()


class Other(VirtualClock):
    """Another clock than the world's own."""


def replaced(endpoint):
    async def request():
        pass

    endpoint.request = request
    return endpoint


@pytest.mark.parametrize(
    ("make", "settings", "is_asked"),
    [
        (lambda world: world.endpoints("a")[0], lambda _: {}, False),
        (lambda world: world.endpoints("a")[0], lambda _: {"prober": Asking()}, True),
        (lambda world: Derived(world, "a"), lambda _: {}, True),
        (lambda world: replaced(world.endpoints("a")[0]), lambda _: {}, True),
        (lambda world: world.endpoints("a")[0], lambda w: {"clock": Other(w.loop)}, True),
        (lambda world: world.endpoints("a")[0], lambda w: {"clock": VirtualClock(w.loop)}, True),
    ],
)
def test_who_answers_in_a_way_of_his_own_is_asked_every_time(make, settings, is_asked):
    async def main(world):
        async with manager_of(world, [make(world)], **settings(world)) as manager:
            await world.clock.sleep(2999)
        return len(manager.made)

    assert simulate(main) == (100 if is_asked else 2)


def test_a_patched_prober_is_asked_every_time(monkeypatch):
    asked = []

    async def probe(self, endpoint):
        asked.append(endpoint.name)
        return await PROBE(self, endpoint)

    monkeypatch.setattr(SimulatedProber, "probe", probe)

    async def main(world):
        async with manager_of(world, world.endpoints("a")):
            await world.clock.sleep(2999)

    simulate(main)
    assert asked == ["a"] * 100


PROBE = SimulatedProber.probe


def test_a_request_of_a_tests_own_counts_from_the_next_check_on():
    async def main(world):
        a, b = world.endpoints("a", "b")
        async with manager_of(world, [a, b]) as manager:
            await world.clock.sleep(DAY + 1)

            async def refuse():
                raise ConnectionRefusedError("by order")

            a.request = refuse
            await manager.wait_until_active(b)
            assert world.clock.monotonic() == DAY + 90
            assert manager.events[-2].reason.endswith("by order")
            del a.request
            await manager.wait_until_active(a)
            return world.clock.monotonic()

    assert simulate(main) == DAY + 150


def seen(body, *, every_check):
    """What is seen of a scenario: events, and looks at the statuses of a manager, in order."""
    found = []

    async def main(world):
        def look(manager):
            statuses = [manager.get_endpoint_status(each).value for each in manager.endpoints]
            found.append((world.clock.monotonic(), "look", *statuses))

        def watch(endpoints, every, **more):
            def on_event(event):
                found.append((event.monotonic, event.endpoint, event.kind, event.reason))

            more |= {"check_interval": f"{every}s", "on_event": on_event}
            return manager_of(world, endpoints, failback="manual", **more)

        await body(world, watch, look, found.append)

    simulate(main, every_check=every_check)
    return found


async def looks_between(world, watch, look, note):
    """Looks whose timers were set before and after that of the check of the same instant."""
    a, b = world.endpoints("a", "b")
    a.fail_at("995s")
    sleep = world.clock.sleep
    async with watch([a, b], 30, failure_threshold=1) as manager:

        async def look_after(*waits):
            for wait in waits:
                await sleep(wait)
            look(manager)

        await asyncio.gather(look_after(1020), look_after(975, 45), look_after(991, 29))


async def one_joins_off_the_grid(world, watch, look, note):
    """Fast checks pass an instant of the others, which nobody else notices, and join them."""
    a, b = world.endpoints("a", "b")
    b.fail_at("900s")
    b.recover_at("985s")
    a.fail_at("1045s")
    more = {"failure_threshold": 1, "recovery_threshold": 6, "fast_interval": "7s"}
    async with watch([a, b], 30, **more) as manager:
        await world.clock.sleep(1005)
        await world.clock.sleep(45)
        look(manager)


async def slow_checks_meet_fast_ones(world, watch, look, note):
    """Checks every 15 s, and some every 20 s that take 5 s: at 585 s both set timers for 600 s."""
    a, b = world.endpoints("a", "b")
    more = {"failure_threshold": 1, "recovery_threshold": 1}
    async with watch([a], 20, **more), watch([b], 15, **more):
        a.fail("silent")
        await world.clock.sleep(596)
        a.recover()
        b.fail()
        await world.clock.sleep(10)


async def one_slow_check_starts_within_another(world, watch, look, note):
    """What happens while one is under way has it made, and the other one need not be."""
    a, b = world.endpoints("a", "b")
    more = {"failure_threshold": 1, "recovery_threshold": 1}
    async with watch([a], 30, **more):
        await world.clock.sleep(3)
        async with watch([b], 30, **more):
            for each in (a, b):
                each.fail("silent")
            await world.clock.sleep(904)  # until 907 s: they are at 900 to 905 and 903 to 908 s
            a.recover()
            b.recover()
            await world.clock.sleep(40)


async def a_silent_one_comes_back_within_a_check(world, watch, look, note):
    """It flaps, so that nothing tells when that is but its own condition."""
    (a,) = world.endpoints("a")
    await world.clock.sleep(2)
    async with watch([a], 30, failure_threshold=1, recovery_threshold=1):
        await world.clock.sleep(1)
        a.flap("1h", "silent")
        await world.clock.sleep(2 * 3600)


async def a_look_between_two_checks_of_one_rhythm(world, watch, look, note):
    """Whoever sleeps as long as the checks' interval may do so between two of them."""
    a, b = world.endpoints("a", "b")
    for each in (a, b):
        each.fail_at("995s")
    async with watch([a], 10, failure_threshold=1) as first:

        async def look_forever():
            while True:
                await world.clock.sleep(10)
                look(first)
                look(second)

        looking = asyncio.create_task(look_forever())
        await asyncio.sleep(0)
        async with watch([b], 10, failure_threshold=1) as second:
            await world.clock.sleep(1005)
            looking.cancel()


async def count_turns(world, waits, note):
    for wait in waits:
        await world.clock.sleep(wait)
    for turn in range(12):
        note((*waits, turn))
        await asyncio.sleep(0)


async def cancelled(world, watch, note, delay):
    """The checks of an endpoint are cancelled at the instant of one, by ``delay(cancel)``."""

    def cancel():
        for task in asyncio.all_tasks():
            if task.get_name() == "failover checks of a":
                task.cancel()

    # Timers that are set before that of the check and after it.
    counts = (count_turns(world, waits, note) for waits in ((900,), (890, 10)))
    turns = asyncio.gather(*counts)
    asyncio.get_running_loop().call_at(900, delay, cancel)
    await asyncio.sleep(0)
    with pytest.raises(MonitoringFailed):  # noqa: PT012 - at the end of the block or within
        async with watch(world.endpoints("a", "b"), 30):
            await turns
            await world.clock.sleep(10)


async def a_cancellation_before_a_timer_fires(world, watch, look, note):
    """It ends the wait at once."""
    await cancelled(world, watch, note, lambda cancel: cancel())


async def a_cancellation_when_it_has_fired(world, watch, look, note):
    """It ends the task in the very turn in which its check would have begun."""
    loop = asyncio.get_running_loop()
    await cancelled(world, watch, note, loop.call_soon)


@pytest.mark.parametrize(
    "body",
    [
        looks_between,
        one_joins_off_the_grid,
        slow_checks_meet_fast_ones,
        one_slow_check_starts_within_another,
        a_silent_one_comes_back_within_a_check,
        a_look_between_two_checks_of_one_rhythm,
        a_cancellation_before_a_timer_fires,
        a_cancellation_when_it_has_fired,
    ],
    ids=lambda body: body.__name__,
)
def test_what_happens_at_one_instant_keeps_its_order(body):
    passed = seen(body, every_check=False)
    assert passed == seen(body, every_check=True)
    assert passed
