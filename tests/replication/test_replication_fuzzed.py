"""Fuzzed histories: regions are lost, cut off, promoted and brought back at any moment.

Clients write all the while, one of them from outside and one inside each region, each write with a
key of its own. What was acknowledged and what is said to be lost is compared with what the stores
hold, which the replication itself can't see of regions that it does not reach.
"""

import asyncio
from itertools import count

from hypothesis import example, given, settings
from hypothesis import strategies as st
from replication_world import NAMES, replication_of

from pytest_drdrill import (
    CatchUpTimeoutError,
    IndeterminateWriteError,
    PromotionFailed,
    RegionUnreachableError,
    ReplicationError,
    WriteRefusedError,
    simulate,
)

MODES = st.sampled_from(["asynchronous", "semi-synchronous", "synchronous"])
PLACES = st.integers(0, 2)
FAULTS = ("lose", "isolate", "restore")
ACTIONS = st.sampled_from([*FAULTS, "promote", "promote the best", "rejoin", "failback"])
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

    async def heal(self):
        """Everybody is back, and holds the same."""
        data = self.replication
        for region in self.regions:
            region.restore()
        await self.world.clock.sleep(20)
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


def play(mode, steps, seed, lag):
    async def main(world):
        regions = world.regions(*NAMES, replication_lag=f"{lag}ms")
        async with replication_of(world, regions, mode=mode, write_timeout="15s") as data:
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


def test_the_fuzz_meets_losses_and_changes_of_the_primary():
    steps = [(20_000, "lose", 0), (500, "promote the best", 0), (9_000, "restore", 0)]
    onlooker = play("asynchronous", [*steps, (500, "failback", 0)], 1, 5000)
    assert len(onlooker.told_lost) > 10
    assert {region for _, _, region, _ in onlooker.acknowledged} == {"east", "west"}
    assert len({epoch for _, epoch, _, _ in onlooker.acknowledged}) == 3
