"""Clocks that drift: fast, slow, and set; over the time of their world."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_drdrill import DriftingClock, SimulatedWorld, simulate


def in_world(main):
    async def begin(world):
        (host,) = world.hosts("db")
        return await main(world, host.clock)

    return simulate(begin)


def test_it_is_right_until_told_otherwise():
    async def main(world, clock):
        assert type(clock) is DriftingClock
        await world.clock.sleep(1.5)
        assert (clock.monotonic(), clock.now()) == (1.5, world.clock.now())
        await clock.sleep(10)
        assert world.clock.monotonic() == 11.5
        assert clock.error == timedelta()

    in_world(main)


def test_it_gains_and_loses_by_parts_per_million():
    async def main(world, clock):
        clock.drift(200)
        await world.clock.sleep(100_000)
        assert clock.monotonic() == 100_020
        assert clock.error == timedelta(seconds=20)
        clock.drift(-500_000)  # half as fast
        await world.clock.sleep(100)
        assert clock.monotonic() == 100_070
        before = world.clock.monotonic()
        await clock.sleep(10)
        assert world.clock.monotonic() - before == 20
        with pytest.raises(TimeoutError):
            async with clock.timeout(5):
                await asyncio.Event().wait()
        assert world.clock.monotonic() - before == 30
        async with clock.timeout(None):
            await clock.sleep(0)
        return [(each.source, each.event, each.detail) for each in world.trace]

    assert in_world(main) == [
        ("db", "clock drifts", "+200 ppm"),
        ("db", "clock drifts", "-500000 ppm"),
    ]


def test_its_calendar_can_be_set_and_spans_do_not_mind():
    async def main(world, clock):
        await world.clock.sleep(60)
        clock.step("-1h")
        assert clock.now() == datetime(1999, 12, 31, 23, 1, tzinfo=UTC)
        assert clock.monotonic() == 60
        clock.step("+90m")
        clock.step(timedelta(minutes=-30))
        assert clock.error == timedelta()
        assert clock.monotonic() == 60
        return [each.detail for each in world.trace]

    assert in_world(main) == ["-1h", "+1h30m", "-30m"]


def test_synchronous_code_waits_by_it_too():
    with SimulatedWorld() as world:
        (host,) = world.hosts("db")
        host.clock.drift(-500_000)
        host.clock.block(3)
        assert world.clock.monotonic() == 6


@given(
    st.lists(
        st.tuples(st.integers(0, 10**7), st.integers(-999_999, 10**6), st.integers(0, 10**7)),
        max_size=5,
    )
)
def test_it_never_goes_back_and_its_waits_are_never_short(course):
    async def main(world, clock):
        for pause, ppm, wait in course:
            await world.clock.sleep(pause / 1e6)
            before = clock.monotonic()
            clock.drift(ppm)
            assert clock.monotonic() == before  # a new rate is no step
            await clock.sleep(wait / 1e6)
            assert clock.monotonic() >= before + wait / 1e6 - 1e-9
            assert clock.monotonic() <= before + (wait + 1 + ppm / 1e6 + 1) / 1e6 + 1e-9
            clock.drift(0)

    in_world(main)


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (lambda clock: clock.drift("fast"), TypeError, "parts per million such as -200, not 'fa"),
        (lambda clock: clock.drift(-(10**6)), ValueError, "a clock runs forward"),
        (lambda clock: clock.drift(-999999.9999), ValueError, "a clock runs forward"),
        (lambda clock: clock.drift(float("inf")), ValueError, "a clock runs forward"),
        (lambda clock: clock.step(5), TypeError, "5 has no unit"),
        (lambda clock: clock.step("-soon"), ValueError, "'soon' is no duration"),
    ],
)
def test_what_makes_no_sense_is_one_sentence_and_changes_nothing(ask, error, message):
    with SimulatedWorld() as world:
        (host,) = world.hosts("db")
        with pytest.raises(error, match=message):
            ask(host.clock)
        assert host.clock.error == timedelta()
        assert len(world.trace) == 0
