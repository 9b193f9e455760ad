"""Sentinels fail over; what the canary measures is held against a process that watches too."""

import asyncio
from contextlib import ExitStack
from itertools import pairwise
from typing import NamedTuple

import pytest
from redis_site import Observer, needs_redis

from pytest_drdrill import (
    Canary,
    Drill,
    FaultProxy,
    RedisSentinels,
    RedisServer,
    ServerFailed,
    redis_canary,
)

INTERVAL = 0.05


@pytest.fixture(autouse=True)
def _redis():
    needs_redis()


class Site:
    """A primary with replicas, whose links can be cut, and three Sentinels."""

    def __init__(self, stack, replicas=1, linked=True, **settings):
        self.primary = stack.enter_context(RedisServer("a", **settings))
        proxy = FaultProxy("127.0.0.1", self.primary.port)
        self.link = stack.enter_context(proxy) if linked else None
        self.replicas = [
            stack.enter_context(RedisServer(name, replica_of=self.primary, through=self.link))
            for name in "bcd"[:replicas]
        ]
        for each in self.replicas:
            each.wait_until_in_step()
        sentinels = RedisSentinels(self.primary, down_after="200ms")
        self.sentinels = stack.enter_context(sentinels)

    @property
    def leader(self):
        (leader,) = (each for each in self.replicas if each.role == "primary")
        return leader


@pytest.fixture
def site():
    with ExitStack() as stack:
        yield lambda **settings: Site(stack, **settings)


class Seen(NamedTuple):
    """What an observer saw: the outage, the writes it lost, and the span that they make up."""

    outage: float
    lost: list[int]
    loss: float
    blur: float


def seen_by(observer, disaster, leader):
    noted = observer.stop()
    gaps = sorted((after.at - before.at, after) for before, after in pairwise(noted))
    _, first = gaps[-1]
    lost = [each for each in noted if not leader.query("EXISTS", f"observed:{each.number}")]
    loss = max(disaster, lost[-1].at) - lost[0].at if lost else 0
    # How coarsely it saw, on a machine that has other things to do.
    blur, _ = max((gap for gap in gaps[:-1] if abs(gap[1].at - first.at) < 1), default=(0, None))
    return Seen(first.at - disaster, [each.number for each in lost], loss, blur)


async def lose_the_primary(site, folder, wait=0, cut=False):
    """A drill with the canary and an observer of its own: what both of them saw."""
    drill = Drill()
    client = redis_canary(site.sentinels, wait=wait, wait_timeout="20ms")
    with Observer(folder, site.sentinels, wait=wait) as observer:
        async with Canary(drill, client, interval="50ms", timeout="200ms") as canary:
            await asyncio.sleep(0.2)
            if cut:
                site.link.blackhole()
                await asyncio.sleep(0.5)
            with drill.rto.outage():
                site.primary.kill()
        acknowledged = dict(canary._stream.acknowledged)
        result = await canary.verify()
        leader = site.leader
        survivors = {key.rpartition(":")[2] for key in leader.query("KEYS", "drdrill:*")}
        seen = seen_by(observer, drill.timeline.disasters[0].at, leader)
    # Read by another way, in the servers' own words.
    assert result.lost == [key for key in acknowledged if key not in survivors]
    resolution = INTERVAL + result.standstill.total_seconds() + seen.blur
    assert abs(result.outage.total_seconds() - seen.outage) <= resolution + 0.02
    # Each end of what was lost lies between two writes of the canary, and two of the observer.
    difference = abs(drill.rpo.data_loss.total_seconds() - seen.loss)
    assert difference <= resolution + INTERVAL + 0.02
    assert bool(result.lost) == bool(seen.lost)
    assert not result.corrupted
    return result


def test_acknowledged_writes_are_lost_where_the_link_was_cut(site, tmp_path):
    result = asyncio.run(lose_the_primary(site(), tmp_path, cut=True))
    assert result.lost
    assert not result.holes
    assert result.outage.total_seconds() > 0.2  # the Sentinels' down_after


def test_nothing_is_lost_that_a_replica_has_confirmed(site, tmp_path):
    result = asyncio.run(lose_the_primary(site(replicas=2), tmp_path, wait=1, cut=True))
    assert not result.lost
    assert result.indeterminate  # those since the cut


RUNS = {
    "asynchronous": {},
    "partitioned": {"cut": True},
    "confirmed": {"wait": 1, "replicas": 2},
    "confirmed and partitioned": {"wait": 1, "replicas": 2, "cut": True},
}


@pytest.mark.soak
@pytest.mark.parametrize("run", range(20))
@pytest.mark.parametrize("kind", RUNS)
def test_the_canary_agrees_with_an_observer(site, tmp_path, kind, run):
    settings = dict(RUNS[kind])
    made = site(replicas=settings.pop("replicas", 1))
    result = asyncio.run(lose_the_primary(made, tmp_path, **settings))
    assert bool(result.lost) == (kind == "partitioned")


@pytest.mark.parametrize("fenced", [False, True])
def test_a_frozen_primary_that_resumes_takes_writes_unless_it_is_fenced(site, fenced):
    made = site(linked=False, min_replicas_to_write=int(fenced))
    old, (new,) = made.primary, made.replicas

    async def body():
        drill = Drill()
        async with Canary(drill, redis_canary(made.sentinels), timeout="200ms") as canary:
            with drill.rto.outage():
                old.pause()
        result = await canary.verify()
        assert result.indeterminate
        assert not result.lost

    asyncio.run(body())
    made.sentinels.wait_for_primary(new)
    old.resume()
    assert old.role == "primary"  # as it believes
    if fenced:
        with pytest.raises(Exception, match="NOREPLICAS"):
            old.query("SET", "order", "paid")
        return
    assert old.query("SET", "order", "paid")
    assert new.query("GET", "order") is None
    old.follow(new)
    assert old.query("GET", "order") is None


def test_sentinels_wait_for_what_they_are_told_and_refuse_what_makes_no_sense(site):
    made = site()
    assert made.sentinels.primary_address() == ("127.0.0.1", made.primary.port)
    with pytest.raises(ServerFailed, match=r"of main did not make b on port \d+ the primary with"):
        made.sentinels.wait_for_primary(made.replicas[0], timeout="1ms")
    (a_sentinel, *others) = made.sentinels.members
    # The link of the replica leads through another port, and is left alone.
    assert a_sentinel.sees("main")["failover-timeout"] == "20000"
    for each in others:
        each.kill()
    assert made.sentinels.primary_address() is None
    for settings, error, message in (
        ({"quorum": 4}, ValueError, "a quorum of 4 can't be had of 3 Sentinels"),
        ({"count": 0}, ValueError, "a quorum of 1 can't be had of 0 Sentinels"),
        ({"down_after": "10us"}, ValueError, "down_after must be whole milliseconds, not 10us"),
        ({"down_after": 5}, TypeError, "down_after: 5 has no unit"),
    ):
        with pytest.raises(error, match=message):
            RedisSentinels(made.primary, **settings)
    with pytest.raises(TypeError, match="Sentinels watch a RedisServer, not 'a'"):
        RedisSentinels("a")
    made.primary.kill()
    with pytest.raises(ValueError, match="a does not run, so Sentinels can't learn its replicas"):
        RedisSentinels(made.primary)
