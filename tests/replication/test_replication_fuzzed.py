"""Fuzzed histories: regions are lost, cut off, promoted and brought back at any moment.

Clients write all the while, one of them from outside and one inside each region, each write with a
key of its own. What was acknowledged and what is said to be lost is compared with what the stores
hold, which the replication itself can't see of regions that it does not reach.
"""

import asyncio
from contextlib import suppress
from itertools import count

from hypothesis import example, given, settings
from hypothesis import strategies as st
from replication_world import NAMES, replication_of

from pytest_drdrill import (
    CatchUpTimeoutError,
    IndeterminateWriteError,
    Latency,
    PromotionFailed,
    RegionUnreachableError,
    ReplicationError,
    WriteRefusedError,
    simulate,
)

MODES = st.sampled_from(["asynchronous", "semi-synchronous", "synchronous"])
PLACES = st.integers(0, 2)
FAULTS = ("lose", "isolate", "restore")
CUTS = ("cut off", "unheard", "deaf", "cut from the next", "heal")
DISKS = ("lose power", "rot and lose power")
ACTIONS = st.sampled_from([*FAULTS, "promote", "promote the best", "rejoin", "failback"])
ACTIONS_IN_SILENCE = st.sampled_from([*CUTS, *CUTS, "promote", "promote the best", "rejoin"])
STEPS_IN_SILENCE = st.lists(
    st.tuples(st.integers(0, 20_000), ACTIONS_IN_SILENCE, PLACES), max_size=8
)
ACTIONS_ON_DISKS = st.sampled_from([*DISKS, *DISKS, "promote", "promote the best", "rejoin"])
STEPS_ON_DISKS = st.lists(st.tuples(st.integers(0, 20_000), ACTIONS_ON_DISKS, PLACES), max_size=8)
STEPS = st.lists(st.tuples(st.integers(0, 20_000), ACTIONS, PLACES), max_size=8)
EXPECTED = (PromotionFailed, RegionUnreachableError, CatchUpTimeoutError)


class Onlooker:
    """Sees everything: each acknowledgement, each loss that is told, and every store."""

    def __init__(self, world, regions, replication):
        self.world, self.regions, self.replication = world, regions, replication
        self.acknowledged = []  # (moment, epoch, region, key)
        self.indeterminate = set()
        self.told_lost = set()
        self._keys = count()

    async def client(self, place, pause):
        while True:
            key = next(self._keys)
            try:
                answer = await self.replication.write(key, f"value of {key}", region=place)
            except (WriteRefusedError, RegionUnreachableError):
                pass
            except IndeterminateWriteError:
                self.indeterminate.add(key)
            else:
                now = self.world.clock.monotonic()
                self.acknowledged.append((now, answer.epoch, answer.region, key))
            await self.world.clock.sleep(pause)

    async def count_leaders(self):
        """At no instant may two regions acknowledge, whoever asks them."""
        engine, clock = self.replication._engine, self.world.clock
        while True:
            able = []
            for name in NAMES:
                replica = engine.replica(name)
                try:
                    replica.read(clock.monotonic())
                except WriteRefusedError:
                    continue
                able.append(name)
            assert len(able) <= 1, f"{able} take writes at {clock.monotonic()}"
            await clock.sleep(0.05)

    def check_loss(self, outcome):
        """What is told to be lost is what was acknowledged and is not there, nothing else."""
        there = set(self.regions[outcome.new].store.keys())
        acknowledged = {key for *_, key in self.acknowledged}
        assert {change.key for change in outcome.lost} == acknowledged - there - self.told_lost
        self.told_lost |= {change.key for change in outcome.lost}

    async def act(self, action, region):
        if action in FAULTS:
            getattr(region, action)()
            return
        if action in CUTS:
            self.cut(action, region)
            return
        if action in DISKS:
            self.lose_power(action, region)
            return
        data = self.replication
        try:
            if action == "rejoin":
                await data.rejoin(region.name)
            elif action == "failback":
                self.check_loss(await data.failback(region.name, "20s"))
            else:
                chosen = region.name if action == "promote" else None
                self.check_loss(await data.promote_region_to_primary(chosen))
        except EXPECTED:
            pass
        except ReplicationError as error:
            assert "is the primary" in str(error)  # noqa: PT017 - the others are expected

    def lose_power(self, how, region):
        """What was not flushed is gone, and so is what was, from some damaged bit on."""
        if how != "lose power":
            with suppress(ValueError):  # nothing of it is on the disk yet
                region.server.disk.rot("changes.log")
        region.server.lose_power()
        region.server.restart()

    def cut(self, how, region):
        """Messages are lost from now on, and nobody is told."""
        network, following = self.world.network, NAMES[(NAMES.index(region.name) + 1) % 3]
        if how == "heal":
            network.heal()
        elif how == "cut from the next":
            network.partition(region, following)
        elif how == "deaf":
            others = ["clients", *(name for name in NAMES if name != region.name)]
            network.partition(others, region, one_way=True)
        else:
            network.partition(region, one_way=how == "unheard")

    async def heal(self):
        """Everybody is back, and holds the same."""
        data = self.replication
        self.world.network.heal()
        self.world.network.everywhere(loss=0)
        for region in self.regions:
            region.restore()
        await self.world.clock.sleep(20)
        if data.primary.server is not None:  # it may lack what others have
            await self.act("promote the best", self.regions[0])
            await self.act("promote", self.regions[NAMES.index(data.primary.name) - 1])
        for region in self.regions:
            if region is not data.primary:
                await data.rejoin(region.name)
        for region in self.regions:
            if region is not data.primary:
                await data.wait_caught_up(region.name, "5m")

    def check_end(self):
        east, west, north = (region.store for region in self.regions)
        assert east.history == west.history == north.history
        assert east.snapshot().items == west.snapshot().items == north.snapshot().items
        there = set(east.keys())
        assert {key for *_, key in self.acknowledged} - there <= self.told_lost
        led = {}
        for _, epoch, region, _ in self.acknowledged:
            assert led.setdefault(epoch, region) == region
        epochs = [epoch for _, epoch, _, _ in self.acknowledged]
        assert epochs == sorted(epochs)


def play(mode, steps, seed, lag, loss=0.0, latency="0s", fsync=None):
    async def main(world):
        regions = world.regions(*NAMES, replication_lag=f"{lag}ms")
        for region in regions if fsync is not None else ():
            (host,) = world.hosts(f"{region.name} db", place=region, boot_time="2s")
            region.serve_from(host, fsync=fsync)
        async with replication_of(world, regions, mode=mode, write_timeout="15s") as data:
            if loss or latency != "0s":  # a start whose primary is not heard is none
                world.network.everywhere(latency=latency, loss=loss)
            onlooker = Onlooker(world, regions, data)
            clients = [(None, 0.31), *zip(NAMES, (0.43, 0.47, 0.53), strict=True)]
            tasks = [asyncio.create_task(onlooker.client(*each)) for each in clients]
            watching = asyncio.create_task(onlooker.count_leaders())
            for pause, action, place in steps:
                await world.clock.sleep(pause / 1000)
                await onlooker.act(action, regions[place])
            await world.clock.sleep(7)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await onlooker.heal()
            onlooker.check_end()
            assert not watching.done(), watching.exception()
            watching.cancel()
        return onlooker

    return simulate(main, seed=seed)


@settings(max_examples=60)
@given(MODES, STEPS, st.integers(0, 9), st.sampled_from([0, 700, 5000]))
def test_what_is_told_to_be_lost_is_what_is_lost_and_nobody_leads_twice(mode, steps, seed, lag):
    play(mode, steps, seed, lag)


@settings(max_examples=60)
@given(
    st.integers(0, 40_000),
    st.sampled_from(["lose", "isolate"]),
    PLACES,
    st.integers(0, 30_000),
    st.booleans(),
    st.integers(0, 9),
    st.sampled_from([0, 700, 5000]),
)
@example(20_000, "isolate", 0, 5_000, True, 0, 700)
def test_a_synchronous_mode_loses_nothing_by_the_loss_of_any_one_region(
    at, how, place, later, promote, seed, lag
):
    steps = [(at, how, place)]
    if promote:
        steps.append((later, "promote the best", place))
    onlooker = play("synchronous", steps, seed, lag)
    assert onlooker.told_lost == set()
    there = set(onlooker.regions[0].store.keys())
    assert {key for *_, key in onlooker.acknowledged} <= there


@settings(max_examples=60)
@given(
    MODES,
    STEPS_IN_SILENCE,
    st.integers(0, 9),
    st.sampled_from([0, 700]),
    st.sampled_from([0.0, 0.02]),
    st.sampled_from(["0s", "50ms", Latency.exponential("100ms", least="10ms")]),
)
def test_what_is_lost_without_a_word_changes_nothing_of_that(mode, steps, seed, lag, loss, latency):
    play(mode, steps, seed, lag, loss, latency)


@settings(max_examples=60)
@given(MODES, STEPS_ON_DISKS, st.integers(0, 9), st.sampled_from([0, 700]), st.booleans())
@example(  # a primary that wrote on, in its epoch, at positions that it had lost
    "asynchronous",
    [
        (0, "lose power", 0),
        (0, "rot and lose power", 1),
        (0, "promote", 1),
        (3494, "promote", 1),
        (912, "rot and lose power", 1),
        (0, "rot and lose power", 1),
    ],
    7,
    0,
    True,
)
def test_what_regions_lose_that_they_had_flushed_is_told_too(mode, steps, seed, lag, fsync):
    play(mode, steps, seed, lag, fsync=fsync)


def test_the_fuzz_meets_losses_and_changes_of_the_primary():
    steps = [(20_000, "lose", 0), (500, "promote the best", 0), (9_000, "restore", 0)]
    onlooker = play("asynchronous", [*steps, (500, "failback", 0)], 1, 5000)
    assert len(onlooker.told_lost) > 10
    assert {region for _, _, region, _ in onlooker.acknowledged} == {"east", "west"}
    assert len({epoch for _, epoch, _, _ in onlooker.acknowledged}) == 3
