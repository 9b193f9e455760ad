"""Simulated hosts and regions: what they do to all that is in them, as a function of time."""

import asyncio

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from simulation_world import outcome

from pytest_drdrill import SimulatedHost, SimulatedWorld, simulate


def in_world(main, boot_time="30s", service_time="0s"):
    async def begin(world):
        (host,) = world.hosts("db-1", boot_time=boot_time)
        (endpoint,) = world.endpoints("db", place=host, service_time=service_time)
        return await main(world, host, endpoint)

    return simulate(begin)


def test_a_host_without_power_is_silent_and_back_after_its_boot():
    async def main(world, host, endpoint):
        host.lose_power()
        assert (host.is_up, endpoint.is_up) == (False, False)
        lost = asyncio.create_task(outcome(world, endpoint, 600))
        await world.clock.sleep(5)
        host.restart()
        await world.clock.sleep(29.9)
        assert not endpoint.is_up
        assert await outcome(world, endpoint, 0.05) == ("TimeoutError", 34950)
        await world.clock.sleep(0.05)
        assert endpoint.is_up
        assert await outcome(world, endpoint) == ("answered", 35000)
        endpoint.fail()  # a dead process, whose host lives
        assert await outcome(world, endpoint) == ("ConnectionRefusedError", 35000)
        assert await lost == ("TimeoutError", 600_000)  # which nobody remembers
        return [(each.at_s, each.source, each.event, each.detail) for each in world.trace]

    assert in_world(main) == [
        (0, "db-1", "loses power", ""),
        (5, "db-1", "boots", "up after 30s"),
        (35, "db", "fails", "it refuses connections"),
    ]


def test_what_is_under_way_is_forgotten_however_soon_the_host_is_back():
    async def main(world, host, endpoint):
        under_way = asyncio.create_task(outcome(world, endpoint, 60))
        await world.clock.sleep(1)
        host.crash()
        host.restart()
        assert host.is_up
        assert await outcome(world, endpoint) == ("answered", 4000)
        assert await under_way == ("TimeoutError", 60_000)

    in_world(main, boot_time="0s", service_time="3s")


def test_a_paused_host_goes_on_where_it_was():
    async def main(world, host, endpoint):
        under_way = asyncio.create_task(outcome(world, endpoint))
        await world.clock.sleep(1)
        host.pause()
        arrives = asyncio.create_task(outcome(world, endpoint))
        endpoint.fail()  # nobody is told by a host that stands still
        assert await outcome(world, endpoint, 1) == ("TimeoutError", 2000)
        endpoint.recover()
        await world.clock.sleep(8)
        host.resume()
        assert await under_way == ("answered", 12_000)  # of three seconds two were left
        assert await arrives == ("answered", 13_000)
        host.pause()
        host.restart()  # a reset ends a pause
        await world.clock.sleep(30)
        assert host.is_up

    in_world(main, service_time="3s")


def test_a_slow_host_takes_longer_for_what_is_left():
    async def main(world, host, endpoint):
        under_way = asyncio.create_task(outcome(world, endpoint))
        await world.clock.sleep(1)
        host.slow(4)
        assert await outcome(world, endpoint) == ("answered", 13_000)
        assert await under_way == ("answered", 9_000)  # one second, and twice four
        host.slow(1)
        assert await outcome(world, endpoint) == ("answered", 16_000)

    in_world(main, service_time="3s")


def test_what_is_planned_happens_by_itself():
    async def main(world, host, endpoint):
        host.crash_at("10s")
        host.restart_at("20s")
        host.pause_at("1m")
        host.resume_at("70s")
        host.lose_power_at("2m")
        found = []
        while world.clock.monotonic() < 125:
            found.append(host.is_up)
            await world.clock.sleep(5)
        with pytest.raises(ValueError, match=r"pause_at\('1s'\) of 'db-1': that moment has passed"):
            host.pause_at("1s")
        return found, [(each.at_s, each.event) for each in world.trace]

    up, traced = in_world(main)
    assert up == [True] * 2 + [False] * 8 + [True] * 2 + [False] * 2 + [True] * 10 + [False]
    assert traced == [
        (10, "crashes"),
        (20, "boots"),
        (60, "pauses"),
        (70, "resumes"),
        (120, "loses power"),
    ]


def test_a_held_connection_breaks_with_the_process_and_with_nothing_else():
    async def main(world, host, endpoint):
        world.network.everywhere(latency="5ms")
        seen = []

        async def watch():
            await endpoint.hold(lambda: seen.append(world.clock.monotonic()))
            seen.append(world.clock.monotonic())

        first = asyncio.create_task(watch())
        await world.clock.sleep(1)
        host.pause()
        await world.clock.sleep(1)
        host.resume()
        endpoint.fail()
        await first
        assert seen == [0.01, 2.005]  # there and back, and the way of its end
        endpoint.recover()
        second = asyncio.create_task(watch())
        await world.clock.sleep(1)
        host.lose_power()
        host.restart()
        await world.clock.sleep(60)
        endpoint.fail()  # of what the host has forgotten nobody hears
        await world.clock.sleep(60)
        assert not second.done()
        second.cancel()
        with pytest.raises(ConnectionRefusedError, match="db refuses connections"):
            await endpoint.hold(lambda: seen.append("never"))

    in_world(main)


# Against a step-by-step account.


DEEDS = st.sampled_from(["crash", "lose_power", "restart", "pause", "resume", "slow", "usual"])
HISTORIES = st.lists(st.tuples(st.integers(0, 40), DEEDS, st.booleans()), max_size=6)


def do(host, deed, at=None):
    if deed in ("slow", "usual"):
        host.slow(4 if deed == "slow" else 1)
    elif at is None:
        getattr(host, deed)()
    else:
        getattr(host, f"{deed}_at")(f"{at}ms")


class Machine:
    """A host as an onlooker accounts for it."""

    def __init__(self, boot):
        self.boot, self.up_from, self.paused, self.factor, self.stops = boot, 0, False, 1, 0

    def does(self, deed, moment):
        if deed in ("crash", "lose_power"):
            self.up_from, self.stops = None, self.stops + 1
        elif deed == "restart":
            self.up_from, self.paused = moment + self.boot, False
            self.stops += 1  # of what was under way nobody knows any more
        elif deed in ("pause", "resume"):
            self.paused = deed == "pause"
        else:
            self.factor = 4 if deed == "slow" else 1

    def is_on(self, moment):
        return self.up_from is not None and moment >= self.up_from


def account(history, boot, begin, work, until):
    """What a request comes to, found by going from millisecond to millisecond."""
    machine, left, stops = Machine(boot), work, None
    for moment in range(until):
        for _, deed in [each for each in history if each[0] == moment]:
            machine.does(deed, moment)
        if moment < begin:
            continue
        stops = machine.stops if stops is None else stops
        if machine.stops != stops or not machine.is_on(moment):
            break
        if not machine.paused:
            if left * machine.factor < 1:  # else what the next millisecond brings comes first
                return "answered", moment + left * machine.factor
            left -= 1 / machine.factor
    return "TimeoutError", until


@given(HISTORIES, st.integers(0, 6), st.integers(0, 40), st.integers(0, 5))
@example([(3, "crash", True), (3, "restart", True)], 0, 1, 4)
@example([(3, "pause", True), (5, "restart", False)], 0, 1, 4)
@example([(0, "slow", False), (1, "usual", False)], 0, 0, 1)
@example([(8, "restart", False)], 0, 3, 5)
def test_requests_meet_what_a_step_by_step_account_says(history, boot, begin, work):
    """Whether told ahead or as it happens."""
    # At one millisecond, what was planned comes first: it was told before.
    planned = [(at, deed) for at, deed, ahead in history if ahead and deed not in ("slow", "usual")]
    told = sorted(
        ((at, deed) for at, deed, ahead in history if not ahead or deed in ("slow", "usual")),
        key=lambda each: each[0],
    )

    async def main(world, host, endpoint):
        for at, deed in planned:
            do(host, deed, at)

        async def tell():
            for at, deed in told:
                if (wait := at / 1000 - world.clock.monotonic()) > 0:
                    await world.clock.sleep(wait)
                do(host, deed)

        telling = asyncio.create_task(tell())
        await world.clock.sleep(begin / 1000)
        for _ in range(3):
            await asyncio.sleep(0)  # after what is told at this very moment
        found = await outcome(world, endpoint, (120 - begin) / 1000)
        await telling
        return found

    found = in_world(main, boot_time=f"{boot}ms", service_time=f"{work}ms")
    order = sorted([*planned, *told], key=lambda each: each[0])  # stable: the planned ones first
    assert found == account(order, boot, begin, work, 120)


# Regions hold them.


def test_a_lost_region_takes_with_it_what_it_holds_and_brings_it_back():
    async def main(world):
        east, west = world.regions("east", "west")
        (db,) = world.hosts("db", place="east", boot_time="20s")
        (on_db,) = world.endpoints("on db", place=db)
        (web,) = world.endpoints("web", place=east)
        (far,) = world.endpoints("far", place=west)
        assert (east.hosts, east.endpoints, db.endpoints) == ((db,), (on_db, web), (on_db,))
        assert (west.hosts, west.endpoints) == ((), (far,))
        db.disk.write("orders", b"safe ")
        db.disk.fsync("orders")
        db.disk.write("orders", b"not safe")
        under_way = asyncio.create_task(outcome(world, on_db, 100))
        await under_way
        db.pause()
        east.lose_at("10s")
        east.restore_at("30s")
        await world.clock.sleep(10)
        assert (await outcome(world, web, 1))[0] == "TimeoutError"
        assert (await outcome(world, far))[0] == "answered"
        await world.clock.sleep(19)
        assert (web.is_up, db.is_up, on_db.is_up) == (True, False, False)
        await world.clock.sleep(19)
        assert not on_db.is_up
        await world.clock.sleep(1)
        assert on_db.is_up  # it has booted, and nothing is paused any more
        assert db.disk.read("orders") == b"safe "
        return [(each.at_s, each.source, each.event) for each in world.trace]

    assert simulate(main) == [
        (0, "db", "pauses"),
        (10, "east", "is lost"),
        (10, "disk of db", "loses what was not fsynced"),
        (30, "east", "is restored"),
    ]


def test_an_isolated_region_is_reached_from_within_alone():
    async def main(world):
        east, west = world.regions("east", "west")
        (web,), (far,) = world.endpoints("web", place=east), world.endpoints("far", place=west)
        east.isolate_at("5s")
        await world.clock.sleep(5)
        assert east.condition == "isolated"
        assert await outcome(world, web, 1) == ("TimeoutError", 6000)
        assert await outcome(world, web, source="east") == ("answered", 6000)
        assert await outcome(world, far, 1, source=web) == ("TimeoutError", 7000)
        east.restore()
        assert await outcome(world, web) == ("answered", 7000)

    simulate(main)


def test_a_host_that_was_off_stays_off_when_its_region_is_back():
    async def main(world):
        (east,) = world.regions("east")
        on, off = world.hosts("on", "off", place=east, boot_time="1s")
        off.lose_power()
        east.lose()
        east.restore()  # in the same instant
        assert (on.is_up, off.is_up) == (False, False)
        await world.clock.sleep(1)
        assert (on.is_up, off.is_up) == (True, False)
        assert on.disk.losses == 1

    simulate(main)


# Beginning anew.


@pytest.mark.parametrize("lost", [False, True])
def test_a_host_knows_nothing_of_what_its_region_met_before_it_was_made(lost):
    async def main(world):
        (region,) = world.regions("east")
        region.lose()
        if not lost:
            region.restore()
        (host,) = world.hosts("new", place=region)
        assert (host.is_up, host.disk.losses) == (not lost, int(lost))
        if lost:
            region.restore()
            await world.clock.sleep(30)
        assert host.is_up
        host.disk.write("a", b"x")
        region.lose()  # at the very moment
        region.restore()
        assert (host.is_up, host.disk.losses) == (False, 1 + lost)
        await world.clock.sleep(30)
        assert host.disk.read("a") == b""

    simulate(main)


def test_a_world_that_begins_anew_has_everything_as_it_was():
    """Links, partitions, plans, disks, clocks, hosts, regions of its set-up; and nothing else."""
    with SimulatedWorld(seed=2) as world:
        east, _ = world.regions("east", "west")
        (db,) = world.hosts("db", place=east, boot_time="10s")
        (web,) = world.endpoints("web", place=db)
        vault = world.disk("vault", capacity=100)
        world.network.link("clients", web, latency="5ms")
        cut = world.network.partition_at("1m", web)
        cut.heal_at("2m")
        forever = world.network.partition_at("30s", "west")
        db.crash_at("5m")
        east.lose_at("10m")
        db.disk.write("orders", b"one")
        vault.write("copy", b"one")
        db.clock.drift(100)

        async def play():
            found = [await outcome(world, web, 1)]
            db.disk.write("orders", b"two")
            await world.clock.sleep(60)
            found.append(await outcome(world, web, 1))
            await world.clock.sleep(60)
            forever.heal()
            found.append((await outcome(world, web, 1), db.clock.error))
            await world.clock.sleep(180)
            found.append((await outcome(world, web, 1), db.disk.losses))
            await world.clock.sleep(400)
            return [*found, east.condition, db.disk.peek("orders"), vault.names()]

        runs = []
        for _ in range(3):
            world.restart()
            runs.append((world.run(play()), list(world.trace)))
            world.hosts("passing", place=east)
            world.disk("passing")
            world.network.everywhere(loss=1)
            cut.heal()
            vault.remove("copy")
            db.slow(9)
            east.restore()
            db.clock.step("5m")
            db.clock.drift(0)
        assert runs[0] == runs[1] == runs[2]
        first, *_ = runs
        assert first[0][:2] == [("answered", 10), ("TimeoutError", 61010)]
        assert (first[0][-3], first[0][-1]) == ("lost", ["copy"])
        assert {"is cut", "is healed", "crashes", "is lost"} <= {each.event for each in first[1]}


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda w: w.hosts(), r"hosts\(\) needs a name for each host that it makes"),
        (lambda w: w.hosts("db"), "a host is named 'db' already"),
        (lambda w: w.hosts(" "), "a host needs a name"),
        (lambda w: w.hosts("x", boot_time="long"), "host 'x': boot_time: 'long' is no duration"),
        (lambda w: w.hosts("x", place="mars"), "'mars' is no region of this world; there are: e"),
        (lambda w: w.hosts("x", capacity=-1), "can't be below zero, as -1 is"),
        (lambda w: w.endpoints("x", place="mars"), "'mars' is no host or region of this world"),
        (lambda w: w.endpoints("x", service_time="y"), "'x': service_time: 'y' is no duration"),
        (lambda w: w.db.slow(0), r"slow\(0\): a factor must be a number above zero"),
        (lambda w: w.db.crash("nothing"), "keeps is 'fsynced' or 'prefix', not 'nothing'"),
        (lambda w: w.db.crash_at("soon"), "'soon' is no duration"),
    ],
)
def test_what_makes_no_sense_is_one_sentence_and_changes_nothing(ask, message):
    with SimulatedWorld() as world:
        world.regions("east")
        (world.db,) = world.hosts("db")
        with pytest.raises(ValueError, match=message):
            ask(world)
        assert world.db.is_up
        assert len(world.trace) == 0
        assert type(world.db) is SimulatedHost


def test_other_types():
    with SimulatedWorld() as world:
        (host,) = world.hosts("db")
        with pytest.raises(TypeError, match="name of a host must be text, not 7"):
            world.hosts(7)
        with pytest.raises(TypeError, match="takes a factor such as 4, not '4'"):
            host.slow("4")
        with pytest.raises(TypeError, match="a whole number of bytes, not '1 GB'"):
            world.hosts("x", capacity="1 GB")
