"""The network of a world: how long messages take, which are lost, and who reaches whom."""

import asyncio
import random
import statistics

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from simulation_world import outcome

from pytest_drdrill import Latency, Partition, SimulatedProber, SimulatedWorld, simulate

# How long.


def test_a_request_and_its_answer_each_take_the_latency():
    async def main(world):
        east, west = world.regions("east", "west")
        (near,) = world.endpoints("near", place=east)
        (far,) = world.endpoints("far", place="west", service_time="3ms")
        network = world.network
        network.link(east, west, latency="40ms")
        network.link("clients", "west", latency="10ms", one_way=True)
        assert await outcome(world, near) == ("answered", 0)
        assert await outcome(world, far) == ("answered", 13)
        assert await outcome(world, far, source="near") == ("answered", 13 + 83)
        network.link("near", "far", latency="1ms")  # the endpoint itself: nearer than its region
        assert await outcome(world, far, source=near) == ("answered", 96 + 5)
        network.everywhere(latency="100ms")  # where nothing else was told: the way back to clients
        assert await outcome(world, far) == ("answered", 101 + 113)
        assert await outcome(world, near, source="near") == ("answered", 214)  # to itself
        network.link(east, east, latency="2ms")
        (beside,) = world.endpoints("beside", place=east)
        assert await outcome(world, beside, source=near) == ("answered", 218)
        near.fail()
        assert await outcome(world, near) == ("ConnectionRefusedError", 418)

    simulate(main)


def test_latencies_are_those_of_their_distribution():
    chance = random.Random(1)

    def draws(latency, number=4000):
        return [latency.draw(chance) / 1000 for _ in range(number)]

    before = chance.getstate()
    assert set(draws(Latency.constant("20ms"))) == {20}
    assert chance.getstate() == before  # a constant one draws nothing
    found = draws(Latency.uniform("5ms", "15ms"))
    assert 5 <= min(found) < 5.1
    assert 14.9 < max(found) <= 15
    assert statistics.mean(found) == pytest.approx(10, rel=0.02)
    found = draws(Latency.normal("20ms", "5ms"))
    assert statistics.mean(found) == pytest.approx(20, rel=0.02)
    assert statistics.stdev(found) == pytest.approx(5, rel=0.05)
    found = draws(Latency.normal("1ms", "5ms"))
    assert min(found) == 0  # cut there, and nothing comes before it was sent
    assert found.count(0) > 1000
    found = draws(Latency.exponential("20ms", least="15ms"))
    assert 15 <= min(found) < 15.1
    assert statistics.mean(found) == pytest.approx(20, rel=0.02)
    found = sorted(draws(Latency.lognormal("20ms", "80ms")))
    assert found[2000] == pytest.approx(20, rel=0.05)
    assert found[3960] == pytest.approx(80, rel=0.15)
    assert str(Latency.lognormal("20ms", "80ms")) == "20ms, p99 80ms"
    assert Latency.uniform("5ms", "5ms").fixed == Latency.constant("5ms").fixed == 5000
    assert Latency.normal("5ms", "0s").fixed is None


def test_same_seed_same_latencies_whoever_else_draws():
    def arrivals(seed, others):
        async def main(world):
            a, b = world.endpoints("a", "b")
            world.network.everywhere(latency=Latency.exponential("20ms"), loss=0.1)
            if others:
                await asyncio.gather(*(outcome(world, b, 1) for _ in range(20)))
            began = world.clock.monotonic()
            found = [await outcome(world, a, 1) for _ in range(50)]
            return [(kind, round(at - began * 1000, 3)) for kind, at in found]

        return simulate(main, seed=seed)

    first = arrivals(3, others=False)
    assert {kind for kind, _ in first} == {"answered", "TimeoutError"}
    assert arrivals(3, others=False) == arrivals(3, others=True) == first
    assert arrivals(4, others=False) != first


@pytest.mark.parametrize("loss", [0, 0.25, 1])
def test_a_lost_message_is_silence(loss):
    async def main(world):
        (a,) = world.endpoints("a")
        world.network.link("clients", a, loss=loss)
        performed, answered = [], 0
        for _ in range(400):
            kind, _ = await outcome(world, a, 0.5, perform=lambda: performed.append(1))
            assert kind in ("answered", "TimeoutError")  # and never an error
            answered += kind == "answered"
        return len(performed), answered

    performed, answered = simulate(main)
    assert performed == pytest.approx(400 * (1 - loss), abs=30)
    assert answered == pytest.approx(400 * (1 - loss) ** 2, abs=30)
    assert (performed > answered) is (loss == 0.25)  # of some only the answer was lost


# Who reaches whom.


def test_a_one_way_partition_lets_requests_arrive_and_loses_their_answers():
    async def main(world):
        (a,) = world.endpoints("a")
        done = []
        with world.network.partition(a, "clients", one_way=True) as cut:
            assert isinstance(cut, Partition)
            assert not a.is_up
            assert await outcome(world, a, 1, perform=lambda: done.append(1)) == (
                "TimeoutError",
                1000,
            )
        assert (done, a.is_up) == ([1], True)
        with world.network.partition("clients", a, one_way=True):
            assert (await outcome(world, a, 1, perform=lambda: done.append(2)))[0] == "TimeoutError"
        assert done == [1]
        assert await a.request(lambda: "the answer") == "the answer"
        a.fail()
        with world.network.partition(a, one_way=True):  # a refusal is an answer too
            assert (await outcome(world, a, 1))[0] == "TimeoutError"
        return [(each.event, each.detail) for each in world.trace if each.source == "network"]

    assert simulate(main)[:4] == [
        ("is cut", "a to clients"),
        ("is healed", "a to clients"),
        ("is cut", "clients to a"),
        ("is healed", "clients to a"),
    ]


def test_groups_hosts_and_others():
    async def main(world):
        east, west, north = world.regions("east", "west", "north")
        (db,) = world.hosts("db", place=east)
        on_db, beside = (
            world.endpoints("on db", place=db)[0],
            world.endpoints("beside", place=east)[0],
        )
        (far,) = world.endpoints("far", place=west)

        async def reaches(*pairs):
            kinds = [
                (await outcome(world, target, 1, source=source))[0] for source, target in pairs
            ]
            return [kind == "answered" for kind in kinds]

        network = world.network
        cut = network.partition([east, "north"], west)
        pairs = ((beside, far), (far, beside), (None, far), (None, on_db), ("north", far))
        assert await reaches(*pairs) == [False, False, True, True, False]
        cut.heal()
        network.partition(db, east)  # a host, and the rest of its region
        pairs = ((on_db, beside), (beside, on_db), (db, on_db), (far, on_db), (far, beside))
        assert await reaches(*pairs) == [False, False, True, True, True]
        network.heal()
        network.partition(db)
        pairs = ((None, on_db), (beside, on_db), (on_db, far), (db, on_db), (None, beside))
        assert await reaches(*pairs) == [False, False, False, True, True]
        network.heal()
        assert await reaches(*pairs) == [True] * 5
        prober = SimulatedProber("west")
        network.partition(west, east)
        assert (await prober.probe(far)).healthy
        with pytest.raises(TimeoutError):
            async with world.clock.timeout(1):
                await prober.probe(beside)
        assert north.condition == "well"

    simulate(main)


def test_a_partition_that_is_over_stays_so():
    async def main(world):
        a, _ = world.endpoints("a", "b")
        cut = world.network.partition(a)
        await world.clock.sleep(1)
        cut.heal()
        await world.clock.sleep(1)
        cut.heal_at("10s")
        assert a.is_up
        await world.clock.sleep(20)
        return [(each.at_s, each.event) for each in world.trace]

    assert simulate(main) == [(0, "is cut"), (1, "is healed")]


@pytest.mark.parametrize("planned", [False, True])
def test_of_a_partition_that_is_healed_before_it_begins_nothing_is_heard(planned):
    async def main(world):
        (a,) = world.endpoints("a")
        cut = world.network.partition_at("5s", a)
        await world.clock.sleep(1)
        if planned:
            cut.heal_at("2s")
        else:
            cut.heal()
        await world.clock.sleep(9)
        with world.network.partition(a):
            pass  # which begins, and is over at that moment
        return [(each.at_s, each.event) for each in world.trace]

    assert simulate(main) == [(10, "is cut"), (10, "is healed")]


def test_a_group_is_in_the_order_in_which_its_places_were_made():
    with SimulatedWorld() as world:
        b, a = world.endpoints("b", "a")
        world.network.link({a, b}, "clients", latency="1s")
        world.network.partition(iter(["a", "clients", "b"]))
        assert [each.detail for each in world.trace] == [
            "b+a and clients: latency 1s",
            "clients+b+a and others",
        ]


@pytest.mark.parametrize("name", ["others", "clients"])
def test_no_place_has_the_name_of_a_group(name):
    with SimulatedWorld() as world:
        for make in (world.regions, world.hosts, world.endpoints):
            with pytest.raises(ValueError, match=f"can be named '{name}', by which the network"):
                make(name)
        assert world.disk(name).name == name


def test_what_is_under_way_when_its_way_is_cut_is_lost():
    async def main(world):
        (a,) = world.endpoints("a")
        world.network.everywhere(latency="10ms")
        world.network.partition_at("5ms", a).heal_at("6ms")
        assert await outcome(world, a, 0.1) == ("TimeoutError", 100)
        cut = world.network.partition_at("1s", a)
        cut.heal()  # before it begins
        await world.clock.sleep(2)
        assert await outcome(world, a, 0.1) == ("answered", 2120)
        under_way = asyncio.create_task(outcome(world, a, 0.1))
        await world.clock.sleep(0.002)
        planned = world.network.partition_at("2125ms", a)
        await world.clock.sleep(0.001)
        planned.heal()  # likewise, with a request on its way all the while
        assert await under_way == ("answered", 2140)
        return [(each.at_s, each.event) for each in world.trace if each.event.startswith("is ")]

    found = simulate(main)
    assert found == [(0.005, "is cut"), (0.006, "is healed")]


CUTS = st.lists(
    st.tuples(st.integers(0, 40), st.integers(1, 20), st.sampled_from(["to", "from", "both"])),
    max_size=3,
)


BOTH = ["to", "from"]


def is_open(cuts, way, first, last):
    """Whether a way is open at every millisecond from one to another."""
    return not any(
        way in (BOTH if direction == "both" else [direction])
        and any(since <= moment < since + lasts for moment in range(first, last + 1))
        for since, lasts, direction in cuts
    )


def expected(cuts, begin, latency, service):
    """What a request comes to, and whether it was carried out."""
    if not is_open(cuts, "to", begin, begin + latency):
        return ("TimeoutError", 200), False
    done = begin + latency + service
    if not is_open(cuts, "from", done, done + latency):
        return ("TimeoutError", 200), True
    return ("answered", done + latency), True


async def cut_and_heal(world, endpoint, cut, *, ahead):
    since, lasts, direction = cut
    one, other = (endpoint, "clients") if direction == "from" else ("clients", endpoint)
    one_way, network = direction != "both", world.network
    if ahead:
        planned = network.partition_at(f"{since}ms", one, other, one_way=one_way)
        planned.heal_at(f"{since + lasts}ms")
        return
    await world.clock.sleep(since / 1000)
    with network.partition(one, other, one_way=one_way):
        await world.clock.sleep(lasts / 1000)


@given(CUTS, st.integers(0, 8), st.integers(0, 8), st.integers(0, 30), st.booleans())
@example([(10, 5, "from")], 4, 0, 8, True)
@example([(12, 1, "from")], 4, 0, 4, False)
def test_requests_meet_what_a_step_by_step_account_says(cuts, latency, service, begin, ahead):
    """Told ahead or as it happens: each leg passes if its way is open all the while."""

    async def main(world):
        (a,) = world.endpoints("a", service_time=f"{service}ms")
        world.network.everywhere(latency=f"{latency}ms")
        cutting = [asyncio.create_task(cut_and_heal(world, a, cut, ahead=ahead)) for cut in cuts]
        await asyncio.sleep(0)  # their timers first
        await world.clock.sleep(begin / 1000)
        for _ in range(3):
            await asyncio.sleep(0)  # after what is told at this very moment
        patience, done = (200 - begin) / 1000, []
        found = await outcome(world, a, patience, perform=lambda: done.append(1))
        for each in cutting:
            await each
        return found, done == [1]

    assert simulate(main) == expected(cuts, begin, latency, service)


# What makes no sense.


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (
            lambda n: n.link("a", "mars"),
            "'mars' is no place of this world; there are clients, twice",
        ),
        (lambda n: n.link("a", "b", loss=2), "a loss is a probability from 0 to 1, not 2"),
        (lambda n: n.link("a", "b", latency="fast"), "latency: 'fast' is no duration"),
        (lambda n: n.partition("a", ["b", "a"]), "endpoint a is on both of them"),
        (lambda n: n.partition([], "a"), "one of them is empty"),
        (lambda n: n.partition("twice"), "'twice' names region twice and endpoint twice; hand"),
        (lambda n: n.partition_at("soon", "a"), "'soon' is no duration"),
        (lambda n: n.partition_at("1s", "a"), r"partition_at\('1s'\) of 'the network': that mom"),
        (lambda n: Latency.uniform("2s", "1s"), "the least latency, '2s', is more than the most"),
        (lambda n: Latency.exponential("1s", least="2s"), "the mean latency, '1s', is below the"),
        (lambda n: Latency.lognormal("0s", "2s"), "needs a median above zero"),
        (lambda n: Latency.lognormal("3s", "2s"), "'2s', is below the median, '3s'"),
        (lambda n: Latency.normal("x", "2s"), "mean: 'x' is no duration"),
    ],
)
def test_what_makes_no_sense_is_one_sentence_and_changes_nothing(ask, message):
    with SimulatedWorld() as world:
        world.regions("twice")
        world.endpoints("a", "b", "twice")
        world.clock.block(2)
        with pytest.raises(ValueError, match=message):
            ask(world.network)
        assert world.network.is_plain
        assert len(world.trace) == 0


def test_numbers_without_a_unit_and_other_types():
    with SimulatedWorld() as world:
        world.endpoints("a")
        with pytest.raises(TypeError, match=r"latency: 0\.02 has no unit"):
            world.network.everywhere(latency=0.02)
        with pytest.raises(TypeError, match=r"a loss is a probability such as 0\.01, not 'often'"):
            world.network.everywhere(loss="often")
        with pytest.raises(ValueError, match="7 is no place of this world"):
            world.network.partition(7)
