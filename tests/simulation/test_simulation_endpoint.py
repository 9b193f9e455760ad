"""Simulated endpoints: how they fare is a function of time, and a request meets just that."""

import asyncio

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pytest_drdrill import ServiceEndpoint, SimulatedEndpoint, SimulatedWorld, simulate


def in_world(main, **settings):
    """Run ``main(world, endpoint)``."""

    async def begin(world):
        (endpoint,) = world.endpoints("orders")
        return await main(world, endpoint)

    return simulate(begin, **settings)


async def outcome(world, endpoint, patience=None):
    """What a request ended in, and the second at which it did."""
    try:
        async with world.clock.timeout(patience):
            await endpoint.request()
    except (OSError, TimeoutError) as error:
        return type(error).__name__, world.clock.monotonic()
    return "answered", world.clock.monotonic()


def test_a_dead_one_refuses_and_cuts_off_what_is_under_way():
    async def main(world, endpoint):
        endpoint.slow("10s")
        under_way = asyncio.create_task(outcome(world, endpoint))
        await world.clock.sleep(4)
        endpoint.fail()
        assert not endpoint.is_up
        assert await under_way == ("ConnectionResetError", 4)
        assert await outcome(world, endpoint) == ("ConnectionRefusedError", 4)
        endpoint.recover()
        assert endpoint.is_up
        assert await outcome(world, endpoint) == ("answered", 4)

    in_world(main)


def test_a_silent_one_answers_late_when_it_comes_back():
    async def main(world, endpoint):
        endpoint.slow("3s")
        under_way = asyncio.create_task(outcome(world, endpoint))
        await world.clock.sleep(2)
        endpoint.fail("silent")
        given_up = asyncio.create_task(outcome(world, endpoint, patience=5))
        await world.clock.sleep(60)
        endpoint.recover()
        assert await under_way == ("answered", 63)  # of its three seconds, one was left
        assert await given_up == ("TimeoutError", 7)
        endpoint.fail("silent")
        killed = asyncio.create_task(outcome(world, endpoint))
        await world.clock.sleep(1)
        endpoint.fail("refused")
        assert await killed == ("ConnectionResetError", 64)

    in_world(main)


def test_what_is_planned_happens_by_itself_and_is_traced_when_it_does():
    async def main(world, endpoint):
        endpoint.fail_at("1m", "silent")
        endpoint.recover_at("2m")
        endpoint.recover()  # now; what is planned stays
        await world.clock.sleep(30)
        under_way = asyncio.create_task(outcome(world, endpoint))
        await world.clock.sleep(30)
        assert (await under_way, endpoint.is_up) == (("answered", 30), False)
        assert await outcome(world, endpoint) == ("answered", 120)
        with pytest.raises(
            ValueError, match=r"fail_at\('1m'\) of 'orders': that moment has passed"
        ):
            endpoint.fail_at("1m")
        endpoint.fail_at("2m")
        assert not endpoint.is_up
        with pytest.raises(ValueError, match="the world is 2m old by now"):
            endpoint.recover_at("5s")
        await world.clock.sleep(1)
        return [(event.at_s, event.event, event.detail) for event in world.trace]

    assert in_world(main) == [
        (0, "recovers", ""),
        (60, "fails", "it is silent"),
        (120, "recovers", ""),
        (120, "fails", "it refuses connections"),
    ]


def test_it_flaps_until_told_otherwise():
    async def main(world, endpoint):
        endpoint.flap("1m", "silent")
        assert await outcome(world, endpoint) == ("answered", 30)
        await world.clock.sleep(29.999999)
        assert endpoint.is_up
        await world.clock.sleep(0.000001)
        assert not endpoint.is_up
        await world.clock.sleep(86_400)
        assert not endpoint.is_up
        assert await outcome(world, endpoint) == ("answered", 86_490)
        endpoint.recover()
        await world.clock.sleep(30)
        assert endpoint.is_up
        return [(event.event, event.detail) for event in world.trace]

    assert in_world(main) == [
        ("flaps", "every 1m, it is silent for the first half"),
        ("recovers", ""),
    ]


def test_a_healthy_one_answers_at_once_and_costs_no_turn_of_the_loop():
    async def main(world, endpoint):
        asyncio.get_running_loop().call_soon(turns.append, 1)
        for _ in range(100):
            await endpoint.request()
        assert turns == []

    turns = []
    in_world(main)


def test_what_is_told_while_a_request_waits_is_met_by_it():
    async def main(world, endpoint):
        endpoint.fail("silent")
        first = asyncio.create_task(outcome(world, endpoint))
        await world.clock.sleep(1)
        endpoint.recover_at("10s")
        assert await first == ("answered", 10)
        endpoint.flap("4s", "silent")
        second = asyncio.create_task(outcome(world, endpoint))
        assert await second == ("answered", 12)
        assert endpoint._waiting == []

    in_world(main)


WAYS = st.sampled_from(["refused", "silent"])
DEEDS = st.one_of(
    st.tuples(st.just("fail"), WAYS),
    st.tuples(st.just("recover")),
    st.tuples(st.just("slow"), st.integers(0, 5)),
    st.tuples(st.just("flap"), st.integers(1, 4), WAYS),
)
HISTORIES = st.lists(st.tuples(st.integers(0, 30), st.booleans(), DEEDS), max_size=6)


DIES = ("fail", "refused")


def do(endpoint, deed, at=None):
    what, *details = deed
    if what == "slow":
        endpoint.slow(f"{details[0]}ms")
    elif what == "flap":
        endpoint.flap(f"{details[0] * 2}ms", details[1])
    elif at is None:
        getattr(endpoint, what)(*details)
    else:
        getattr(endpoint, f"{what}_at")(f"{at}ms", *details)


def condition_at(history, moment):
    """Failure and delay at a millisecond, from what was told until then."""
    since, half, how, delay = 0, 10**9, None, 0
    for at, (what, *details) in history:
        if at > moment:
            continue
        if what == "slow":
            (delay,) = details
        elif what == "recover":
            how, delay = None, 0
        elif what == "fail":
            since, half, how = at, 10**9, *details
        else:
            since, half, how = at, *details
    return how if (moment - since) // half % 2 == 0 else None, delay


def expected(history, begin, until):
    """What a request comes to, found by going from millisecond to millisecond."""
    failure, left = condition_at(history, begin)
    if failure == "refused":
        return "ConnectionRefusedError", begin
    for moment in range(begin, until):
        failure, _ = condition_at(history, moment)
        if failure == "refused":
            return "ConnectionResetError", moment
        if failure is None and left <= 0:
            return "answered", moment
        left -= failure is None
    return "TimeoutError", until


@given(HISTORIES, st.integers(0, 30))
@example([(3, True, ("fail", "silent")), (3, False, ("recover",))], 0)
@example([(0, False, ("fail", "silent")), (1, False, DIES), (1, False, ("recover",))], 0)
@example([(0, False, ("slow", 5)), (5, False, ("fail", "refused"))], 0)
def test_requests_meet_what_a_step_by_step_account_says(history, begin):
    """Whether told ahead or as it happens, and however often somebody asked meanwhile."""
    # At one millisecond, what was planned comes first: it was told before.
    history = sorted(history, key=lambda each: (each[0], not each[1] or each[2][0] in LIVE))
    planned = [(at, deed) for at, ahead, deed in history if ahead and deed[0] not in LIVE]
    told = [(at, deed) for at, ahead, deed in history if not ahead or deed[0] in LIVE]

    async def main(world, endpoint):
        for at, deed in planned:
            do(endpoint, deed, at)

        async def tell():
            for at, deed in told:
                if (wait := at / 1000 - world.clock.monotonic()) > 0:
                    await world.clock.sleep(wait)
                do(endpoint, deed)  # all of one instant at once, so that the last one holds

        telling = asyncio.create_task(tell())
        await world.clock.sleep(begin / 1000)
        await asyncio.sleep(0)  # after what is told at this very moment
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        asked = [
            asyncio.create_task(outcome(world, endpoint, patience=(60 - begin) / 1000))
            for _ in range(2)
        ]
        ups = []
        while world.clock.monotonic() < 0.05:
            await world.clock.sleep(0.0005)
            ups.append((round(world.clock.monotonic() * 1000, 1), endpoint.is_up))
        await telling
        return [await each for each in asked], ups

    account = [(at, deed) for at, _, deed in history]
    outcomes, ups = in_world(main)
    kind, moment = expected(account, begin, 60)
    assert outcomes == [(kind, moment / 1000)] * 2
    for at, is_up in ups:
        if at != int(at):  # at the whole ones it is told only now
            assert is_up is (condition_at(account, int(at))[0] is None)


LIVE = ("slow", "flap")


def test_it_is_an_endpoint_like_any():
    with SimulatedWorld() as world:
        first, second = world.endpoints("EU west/1", "b", timeout="2s")
        (third,) = world.endpoints("é")
    assert isinstance(first, ServiceEndpoint)
    assert first.health_url == "http://EU-west-1.test/health"
    assert third.url == "http://endpoint.test"
    assert [each.priority for each in (first, second, third)] == [0, 1, 2]
    assert [each.timeout.total_seconds() for each in (first, second, third)] == [2, 2, 5]
    assert first != second
    assert len({first, second, third}) == 3


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda world: world.endpoints(), r"endpoints\(\) needs a name for each"),
        (lambda world: world.endpoints("a", "a"), "an endpoint is named 'a' already"),
        (lambda world: world.endpoints("known"), "an endpoint is named 'known' already"),
        (lambda world: world.endpoints(" "), "an endpoint needs a name"),
        (lambda world: world.endpoints("b", timeout="0s"), "a timeout of zero fails every check"),
        (lambda world: world.known.fail("hard"), "'refused' or 'silent', not 'hard'"),
        (lambda world: world.known.fail_at("1m", "x"), "'refused' or 'silent', not 'x'"),
        (lambda world: world.known.flap("1us"), r"flap\('1us'\): a period needs two halves"),
        (lambda world: world.known.slow("fast"), "'fast' is no duration"),
        (lambda world: world.known.recover_at("soon"), "'soon' is no duration"),
    ],
)
def test_what_makes_no_sense_is_one_sentence_and_changes_nothing(ask, message):
    with SimulatedWorld() as world:
        (world.known,) = world.endpoints("known")
        with pytest.raises(ValueError, match=message):
            ask(world)
        assert world.known.is_up
        assert len(world.trace) == 0
        world.clock.block(120)
        assert world.known.is_up
        (later,) = world.endpoints("later")
        assert later.priority == 1


def test_names_are_text():
    with SimulatedWorld() as world, pytest.raises(TypeError, match="name must be text, not 7"):
        world.endpoints(7)


def test_a_world_that_begins_anew_keeps_endpoints_of_its_set_up_as_they_were():
    with SimulatedWorld() as world:
        (lasting,) = world.endpoints("lasting")
        lasting.slow("1s")
        for _ in range(2):
            world.restart()
            lasting.fail()
            world.endpoints("passing")  # each time the name is free again
            assert not lasting.is_up
        world.restart()
        assert lasting.is_up
        assert world.run(outcome(world, lasting)) == ("answered", 1)
        with pytest.raises(ValueError, match="named 'lasting' already"):
            world.endpoints("lasting")
    assert type(lasting) is SimulatedEndpoint


def test_a_request_of_a_tests_own_ends_with_its_example():
    async def broken():
        raise ConnectionError("mine")

    async def lasting():
        return "of the set-up"

    with SimulatedWorld() as world:
        ours, theirs = world.endpoints("ours", "theirs")
        theirs.request = lasting
        for _ in range(2):
            world.restart()
            assert world.run(outcome(world, ours)) == ("answered", 0)
            assert world.run(theirs.request()) == "of the set-up"
            ours.request = theirs.request = broken
