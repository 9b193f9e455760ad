"""What is known of a request before it is made is what it comes to, in every world."""

import asyncio

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pytest_drdrill import Latency, simulate
from pytest_drdrill.simulation.prospect import AT_ONCE, NEVER

WAYS = st.sampled_from(["refused", "silent"])
AT = st.integers(1, 40)
DEEDS = st.one_of(
    st.tuples(st.just("fail"), AT, WAYS),
    st.tuples(st.just("recover"), AT),
    st.tuples(st.just("slow endpoint"), AT, st.integers(0, 6)),
    st.tuples(st.just("flap"), AT, st.integers(1, 5), WAYS),
    st.tuples(st.just("slow host"), AT, st.sampled_from([0.5, 1, 3])),
    st.tuples(st.sampled_from(["crash", "restart", "pause", "resume"]), AT),
    st.tuples(st.sampled_from(["lose", "isolate", "restore"]), AT),
    st.tuples(st.just("cut"), AT, st.integers(1, 10), st.booleans()),
    st.tuples(st.just("link"), AT, st.integers(0, 5), st.booleans()),
)
LONG = 500_000


def do(world, deed):
    """Plan what can be planned; return what has to be told in its time."""
    (endpoint,), (host,) = world.endpoints_made, world.hosts_made
    what, at, *details = deed
    ms = f"{at}ms"
    if what in ("fail", "recover"):
        getattr(endpoint, f"{what}_at")(ms, *details)
    elif what in ("crash", "restart", "pause", "resume"):
        getattr(host, f"{what}_at")(ms)
    elif what in ("lose", "isolate", "restore"):
        getattr(host.place, f"{what}_at")(ms)
    elif what == "cut":
        lasts, one_way = details
        cut = world.network.partition_at(ms, host, one_way=one_way)
        cut.heal_at(f"{at + lasts}ms")
    else:
        told = {
            "slow endpoint": lambda by: endpoint.slow(f"{by}ms"),
            "flap": lambda half, how: endpoint.flap(f"{2 * half}ms", how),
            "slow host": host.slow,
            "link": lambda ms, out: world.network.link(
                *(("clients", host) if out else (host, "clients")),
                latency=f"{ms}ms",
                one_way=True,
            ),
        }[what]
        return lambda: told(*details)
    return None


async def play(world, deeds, checks):
    (east,) = world.regions("east")
    world.hosts_made = world.hosts("db", place=east, boot_time="3ms")
    world.endpoints_made = world.endpoints("a", place="db", service_time="2ms")
    (endpoint,) = world.endpoints_made
    tell = [(deed[1], call) for deed in deeds if (call := do(world, deed)) is not None]
    moments = sorted({at for at, _ in tell})

    async def teller():
        for at in moments:
            await world.clock.sleep(at / 1000 - world.clock.monotonic())
            for moment, call in tell:
                if moment == at:
                    call()

    async def check(at):
        await world.clock.sleep(at / 1000 + 0.0005)
        begun = round(world.clock.monotonic() * 1e6)
        prospect, until = endpoint.prospect(), endpoint.alike_until()
        told = [at * 1000 for at in moments if at * 1000 > begun]
        until = min([LONG, *told, *([] if until is None else [until])])
        outcome = "answered"
        try:
            async with world.clock.timeout(1):
                await endpoint.request()
        except OSError as error:
            outcome = type(error).__name__
        ended = round(world.clock.monotonic() * 1e6)
        return prospect, begun, until, outcome, ended

    telling = asyncio.create_task(teller())
    found = await asyncio.gather(*(check(at) for at in checks))
    await telling
    return found


@given(st.lists(DEEDS, max_size=5), st.lists(st.integers(0, 50), min_size=1, max_size=5))
@example([("pause", 3), ("restart", 6)], [1, 4, 7, 9])
@example([("crash", 3), ("restart", 6)], [7, 10])
@example([("cut", 5, 3, True), ("link", 1, 2, False)], [2, 4, 6, 9])
@example([("slow host", 2, 3), ("slow endpoint", 3, 4)], [1, 2, 3, 5])
@example([("link", 1, 4, True), ("fail", 5, "refused")], [2, 7])
def test_what_is_foreseen_is_what_happens(deeds, checks):
    met = simulate(lambda world: play(world, deeds, checks))
    for prospect, begun, until, outcome, ended in met:
        later = [other for other, at, *_ in met if begun <= at < until]
        assert set(later) == {prospect}
        if prospect is None:
            continue
        if prospect.refusal:
            assert (outcome, ended) == ("ConnectionRefusedError", begun)
        elif prospect.takes is None:
            # No answer before anything changes; what comes then is another matter.
            assert ended >= until or ended - begun == 1_000_000
        elif begun + prospect.takes < until:
            assert (outcome, ended - begun) == ("answered", prospect.takes)
        else:
            assert ended >= until or outcome == "answered"


def test_it_says_what_it_knows_and_nothing_else():
    async def main(world):
        east, _ = world.regions("east", "west")
        (host,) = world.hosts("db", place=east)
        a, b = world.endpoints("a", "b", place=host)
        assert a.prospect() is AT_ONCE
        assert a.alike_until() is None
        host.pause_at("1m")
        assert a.alike_until() == 60_000_000
        cut = world.network.partition_at("30s", "db")
        assert a.alike_until() == 30_000_000
        assert a.prospect("west") is AT_ONCE
        await world.clock.sleep(30)
        assert (a.prospect(), a.prospect("db")) == (NEVER, AT_ONCE)
        cut.heal()
        assert a.prospect() is AT_ONCE
        world.network.link("clients", "db", latency="5ms")
        assert a.prospect().takes == 10_000
        a.fail()
        assert a.prospect() is None  # a refusal, which takes its time
        assert a.prospect("west").refusal == "a refuses connections"
        world.network.link("clients", b, latency=Latency.exponential("5ms"))
        assert b.prospect() is None
        world.network.everywhere(loss=0.1)
        assert b.prospect("west") is None
        with pytest.raises(ValueError, match="'mars' is no place of this world"):
            b.prospect("mars")

    simulate(main)
