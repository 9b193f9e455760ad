"""Promotion, fencing, rejoining and failback."""

import asyncio

import pytest
from replication_world import in_world, replication_of, told

from pytest_drdrill import (
    CatchUpTimeoutError,
    IndeterminateWriteError,
    MemoryStore,
    PromotionFailed,
    RegionUnreachableError,
    ReplicationError,
    WriteRefusedError,
    simulate,
)


async def write_each_second(world, replication, keys):
    for key in keys:
        await world.clock.sleep(0.5)  # so that nothing else happens at the moment of a write
        await replication.write(key, f"value of {key}")
        await world.clock.sleep(0.5)


def test_a_promotion_waits_for_the_lease_of_a_lost_primary_and_says_what_is_lost():
    async def main(world, regions, replication):
        await write_each_second(world, replication, range(20))
        regions["east"].lose()
        outcome = await replication.promote_region_to_primary()
        # Renewed at 20 s at the latest; 3.33 s apart, each for ten seconds.
        assert 26.6 < world.clock.monotonic() <= 30
        assert (outcome.old, outcome.new, outcome.epoch) == ("east", "west", 2)
        assert outcome.position == 15
        assert [change.key for change in outcome.lost] == [15, 16, 17, 18, 19]
        assert replication.primary is regions["west"]
        assert (regions["west"].is_primary, regions["east"].is_primary) == (True, False)
        assert await replication.keys() == list(range(15))
        assert (await replication.write("new", 1)) == (16, 2, "west")
        return told(replication, "fenced", "promotion", "unprotected")

    kinds = [kind for _, kind, _ in in_world(main)]
    assert kinds == ["fenced", "promotion", "unprotected"]


def test_a_primary_that_answers_is_fenced_at_once():
    async def main(world, regions, replication):
        await replication.write("a", 1)
        outcome = await replication.promote_region_to_primary("west")
        assert world.clock.monotonic() == 0
        assert [change.key for change in outcome.lost] == ["a"]
        with pytest.raises(WriteRefusedError, match="east takes no writes: it is not the primary"):
            await replication.write("b", 1, region="east")

    in_world(main)


def test_a_primary_cut_off_together_with_its_clients_stops_before_another_one_begins():
    async def main(world, regions, replication):
        answers = []

        async def client(region):
            n = 0
            while True:
                n += 1
                try:
                    answer = await replication.write(f"{region} {n}", n, region=region)
                    answers.append((world.clock.monotonic(), answer.region))
                except (WriteRefusedError, RegionUnreachableError):
                    pass
                await world.clock.sleep(0.1)

        clients = [asyncio.create_task(client(name)) for name in ("east", "west")]
        await world.clock.sleep(20.05)
        regions["east"].isolate()
        await replication.promote_region_to_primary()
        await world.clock.sleep(10)
        for each in clients:
            each.cancel()
        last = max(at for at, region in answers if region == "east")
        first = min(at for at, region in answers if region == "west")
        assert 25 < last < first < 31
        assert len(answers) > 250

    in_world(main)


def test_a_write_under_way_in_a_promotion_is_indeterminate():
    async def main(world, regions, replication):
        write = asyncio.create_task(replication.write("a", 1))
        await world.clock.sleep(1)
        await replication.promote_region_to_primary()
        with pytest.raises(IndeterminateWriteError, match="west took over from east"):
            await write

    in_world(main, mode="synchronous")


def test_a_write_flushed_after_the_end_of_the_lease_is_indeterminate():
    async def main(world, regions, replication):
        carry = world.network.carry

        async def cut(source, target, *, changes=False):
            if None in (source, target):
                raise ConnectionRefusedError("nobody outside reaches anybody")
            await carry(source, target, changes=changes)

        world.network.carry = cut
        with pytest.raises(IndeterminateWriteError, match="its lease ended 2s ago"):
            await replication.write("a", 1, region="east")
        assert await replication.read("a", region="west") == 1

    in_world(main, lag="12s", mode="synchronous")


def test_an_answer_that_comes_after_a_promotion_is_none():
    async def main(world, regions, replication):
        carry = world.network.carry

        async def slow(source, target, *, changes=False):
            if (source, target) == ("east", None):
                world.network.carry = carry
                await world.clock.sleep(20)
            await carry(source, target, changes=changes)

        world.network.carry = slow
        write = asyncio.create_task(replication.write("a", 1))
        await world.clock.sleep(1)
        assert (await replication.promote_region_to_primary()).lost == ()
        with pytest.raises(IndeterminateWriteError, match="before its epoch was over"):
            await write
        assert world.clock.monotonic() == 20

    in_world(main, connection_timeout="1m")  # or nobody would have waited so long for it


def test_the_most_advanced_secondary_is_promoted_unless_told_otherwise():
    async def main(world, regions, replication, name):
        regions["west"].lag_s = 9
        await write_each_second(world, replication, range(20))
        regions["east"].lose()
        outcome = await replication.promote_region_to_primary(name)
        await replication.write("new", 1)
        await world.clock.sleep(20)
        stores = [regions[each].store for each in ("west", "north")]
        assert stores[0].history == stores[1].history
        assert stores[0].changes(0) == stores[1].changes(0)
        assert [change.key for change in outcome.lost] == list(range(outcome.position, 20))
        return outcome.new, outcome.position, told(replication, "writes_discarded")

    def run(name):
        return in_world(lambda *each: main(*each, name), regions=3)

    assert run(None)[:2] == ("north", 15)
    new, position, discarded = run("west")
    assert (new, position) == ("west", 11)
    assert [region for _, _, region in discarded] == ["north"]  # which had more, and gave it up


def test_a_region_that_rejoins_gives_up_what_the_primary_lacks():
    async def main(world, regions, replication):
        await write_each_second(world, replication, range(10))
        regions["east"].lose()
        outcome = await replication.promote_region_to_primary()
        await replication.write("new", 1)
        with pytest.raises(RegionUnreachableError, match="east can't rejoin: east is lost"):
            await replication.rejoin("east")
        regions["east"].restore()
        with pytest.raises(ReplicationError, match="east does not follow west"):
            replication.lag("east")
        rejoin = await replication.rejoin("east")
        assert (rejoin.region, rejoin.how, rejoin.position) == ("east", "rewound", 5)
        assert rejoin.discarded == outcome.lost
        await replication.wait_caught_up("east", "10s")
        assert await replication.keys(region="east") == [0, 1, 2, 3, 4, "new"]
        with pytest.raises(ReplicationError, match="west is the primary"):
            await replication.rejoin("west")
        assert (await replication.rejoin("east")).how == "resumed"  # as it followed already

    in_world(main)


def test_a_secondary_too_far_behind_for_the_log_takes_a_snapshot():
    async def main(world, regions, replication):
        regions["east"].store._retain = 10
        regions["west"].lose()
        await write_each_second(world, replication, range(100))
        regions["west"].restore()
        await replication.wait_caught_up("west", "1m")
        assert regions["west"].store.oldest > 50  # of what came before it has the outcome alone
        assert await replication.keys(region="west") == list(range(100))
        assert regions["west"].store.history == regions["east"].store.history
        return told(replication, "snapshot_taken")

    assert len(in_world(main)) == 1


def test_a_diverged_region_whose_log_is_too_short_is_cloned_anew():
    async def main(world, regions, replication):
        await write_each_second(world, replication, range(50))
        regions["east"].isolate()
        for n in range(50, 60):
            await replication.write(n, n, region="east")
        await replication.promote_region_to_primary()
        regions["east"].restore()
        regions["east"].store._retain = 3
        regions["east"].store._trim()
        rejoin = await replication.rejoin("east")
        assert rejoin.how == "re-cloned"
        assert [change.key for change in rejoin.discarded] == [57, 58, 59]  # what its log still has
        await replication.wait_caught_up("east", "10s")
        assert await replication.keys(region="east") == await replication.keys()

    in_world(main)


def test_a_failback_loses_nothing_and_the_primary_follows():
    async def main(world, regions, replication):
        await write_each_second(world, replication, range(10))
        regions["east"].lose()
        await replication.promote_region_to_primary()
        regions["east"].restore()
        await write_each_second(world, replication, range(100, 120))
        acknowledged, refused = [], []

        async def client():
            for n in range(200, 400):
                try:
                    await replication.write(n, n)
                    acknowledged.append(n)
                except WriteRefusedError:
                    refused.append(n)
                await world.clock.sleep(0.1)

        writing = asyncio.create_task(client())
        outcome = await replication.failback("east")
        assert [change.key for change in outcome.discarded] == [5, 6, 7, 8, 9]
        assert (outcome.new, outcome.lost) == ("east", ())
        await writing
        await replication.wait_caught_up("west", "10s")
        for region in ("east", "west"):
            keys = await replication.keys(region=region)
            assert keys == [*range(5), *range(100, 120), *acknowledged]
        assert len(refused) == 50  # the five seconds of the drain
        assert replication.lag("west").changes == 0

    in_world(main)


def test_a_failback_whose_target_is_lost_in_the_drain_leaves_the_primary_as_it_was():
    async def main(world, regions, replication):
        await replication.promote_region_to_primary("west")
        with pytest.raises(PromotionFailed, match="none follows west"):
            await replication.promote_region_to_primary()
        await replication.rejoin("east")
        await replication.write("a", 1)
        failing = asyncio.create_task(replication.failback("east", "20s"))
        await world.clock.sleep(5)
        await replication.write("b", 1)
        await world.clock.sleep(1)
        regions["east"].lose()
        with pytest.raises(PromotionFailed, match="the failback to east failed: east did not take"):
            await failing
        assert world.clock.monotonic() == 6
        assert replication.primary is regions["west"]
        await replication.write("c", 1)
        regions["east"].restore()
        await replication.wait_caught_up("east", "1m")
        assert await replication.keys(region="east") == ["a", "b", "c"]

    in_world(main)


@pytest.mark.parametrize("after", [1, 5, 6, 9])
def test_a_cancelled_failback_leaves_somebody_to_write_to(after):
    async def main(world, regions, replication):
        await replication.promote_region_to_primary("west")
        await replication.write("a", 1)
        await replication.rejoin("east")
        failing = asyncio.create_task(replication.failback("east"))
        await world.clock.sleep(4.5)
        await replication.write("b", 1)  # so that there is something to drain
        await world.clock.sleep(after - 4.5 if after > 4.5 else 0)
        failing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await failing
        assert replication.primary is regions["west"]
        at = world.clock.monotonic()
        await replication.write("c", 1)
        assert world.clock.monotonic() == at
        await replication.wait_caught_up("east", "1m")
        assert await replication.keys(region="east") == ["a", "b", "c"]
        assert (await replication.failback("east")).lost == ()
        return told(replication, "promotion_failed", "failback")

    kinds = [kind for _, kind, _ in in_world(main)]
    assert kinds[-1] == "failback"
    assert len(kinds) <= 2


def test_a_failback_that_waits_holds_up_no_promotion():
    async def main(world, regions, replication):
        await replication.write("a", 1)
        regions["west"].isolate()
        waiting = asyncio.create_task(replication.failback("west"))
        await world.clock.sleep(20)
        outcome = await replication.promote_region_to_primary("north")
        assert (world.clock.monotonic(), outcome.lost) == (20, ())
        with pytest.raises(ReplicationError, match="north took over from east"):
            await waiting

    in_world(main, regions=3, lag="1s")


def test_a_failback_waits_for_who_is_behind_no_longer_than_told():
    async def main(world, regions, replication):
        await replication.write("a", 1)
        regions["west"].isolate()
        with pytest.raises(CatchUpTimeoutError, match="west was still 1 changes behind after 20 s"):
            await replication.failback("west", "20s")
        assert replication.primary is regions["east"]
        await replication.write("b", 1)

    in_world(main)


def test_nobody_to_promote_is_an_error_and_leaves_the_primary_alone():
    async def main(world, regions, replication):
        regions["west"].lose()
        with pytest.raises(PromotionFailed, match=r"no region .* answers \(west: west is lost\)"):
            await replication.promote_region_to_primary()
        with pytest.raises(PromotionFailed, match="east is the primary already"):
            await replication.promote_region_to_primary("east")
        with pytest.raises(PromotionFailed, match="east is the primary already"):
            await replication.failback("east")
        await replication.write("a", 1)
        assert replication.primary is regions["east"]
        return told(replication, "promotion_failed")

    assert len(in_world(main)) == 3


def test_a_target_lost_in_the_wait_for_the_lease_is_no_primary():
    async def main(world, regions, replication):
        regions["east"].isolate()
        promoting = asyncio.create_task(replication.promote_region_to_primary("west"))
        await world.clock.sleep(5)
        regions["west"].lose()
        with pytest.raises(PromotionFailed, match="west does not answer any more"):
            await promoting
        assert replication.primary is regions["east"]
        regions["east"].restore()
        await world.clock.sleep(4)
        assert (await replication.write("a", 1)).epoch == 3

    in_world(main)


def test_a_target_that_took_the_lease_and_could_not_say_so_is_fenced_first():
    async def main(world, regions, replication):
        west, carry = replication._engine.replica("west"), world.network.carry

        async def cut(source, target, *, changes=False):
            if (source, target) == ("west", None) and west._leading:
                regions["west"].isolate()
            await carry(source, target, changes=changes)

        world.network.carry = cut
        with pytest.raises(PromotionFailed, match="west does not answer any more"):
            await replication.promote_region_to_primary()
        assert world.clock.monotonic() == 10  # what the lease of west may last
        with pytest.raises(WriteRefusedError, match="its lease ended 0s ago"):
            west.read(world.clock.monotonic())
        assert (await replication.write("a", 1)).region == "east"

    in_world(main)


def test_a_failback_that_a_promotion_overtook_is_an_error():
    async def main(world, regions, replication):
        regions["east"].isolate()
        promoting = asyncio.create_task(replication.promote_region_to_primary())
        await world.clock.sleep(1)
        with pytest.raises(PromotionFailed, match="west has become the primary meanwhile"):
            await replication.failback("east")
        await promoting

    in_world(main)


def test_stopped_and_started_again_it_goes_on_in_a_later_epoch():
    async def main(world):
        regions = world.regions("east", "west", replication_lag="1s")
        replication = replication_of(world, regions)
        async with replication:
            await replication.write("a", 1)
            await replication.promote_region_to_primary()
        await replication.stop_replication()
        async with replication:
            assert replication.primary is regions["west"]
            assert (await replication.write("b", 1)).epoch == 3
            assert await replication.keys() == ["b"]
            assert [change.key for change in (await replication.rejoin("east")).discarded] == ["a"]

    simulate(main)


def test_what_was_acknowledged_before_a_stop_is_told_when_it_is_lost_after_the_next_start():
    async def main(world):
        replication = replication_of(world, world.regions("east", "west", replication_lag="1s"))
        async with replication:
            await replication.write("a", 1)
        async with replication:
            outcome = await replication.promote_region_to_primary()
        assert [change.key for change in outcome.lost] == ["a"]

    simulate(main)


def test_a_rejoin_that_fails_leaves_a_follower_what_it_was():
    async def main(world, regions, replication):
        regions["west"].lose()
        with pytest.raises(RegionUnreachableError, match="west can't rejoin: west is lost"):
            await replication.rejoin("west")
        with pytest.raises(IndeterminateWriteError):  # it is waited for as before
            await replication.write("a", 1)
        regions["west"].restore()
        await replication.wait_caught_up("west", "1m")

    in_world(main, mode="synchronous")


def test_a_store_that_breaks_breaks_the_replication():
    class Broken(MemoryStore):
        def apply(self, changes):
            raise LookupError("a bug of it")

    async def main(world):
        regions = world.regions("east", "west")
        regions["west"].store = Broken()
        async with replication_of(world, regions) as replication:
            await replication.write("a", 1)
            await world.clock.sleep(1)
            await replication.write("b", 1)

    with pytest.raises(ReplicationError, match="the replication broke: LookupError"):
        simulate(main)


def test_what_is_written_while_it_stops_is_not_acknowledged_and_forgotten():
    async def main(world):
        regions = world.regions("east", "west", replication_lag="5s")
        replication = replication_of(world, regions)
        await replication.start_replication()
        acknowledged = []

        async def client():
            for number in range(1000):
                await replication.write(number, "v")
                acknowledged.append(number)

        task = asyncio.create_task(client())
        for _ in range(20):
            await asyncio.sleep(0)
        await replication.stop_replication()
        await asyncio.wait([task])
        assert isinstance(task.exception(), ReplicationError)
        await replication.start_replication()
        await world.clock.sleep(1)
        regions["east"].lose()
        lost = (await replication.promote_region_to_primary()).lost
        missing = set(acknowledged) - set(regions["west"].store.keys())
        assert missing
        assert missing <= {change.key for change in lost}
        await replication.stop_replication()

    simulate(main)


def test_a_write_during_the_start_waits_for_all_that_will_follow():
    async def main(world):
        regions = world.regions("east", "west", "north", replication_lag="5s")
        replication = replication_of(world, regions, mode="synchronous")

        async def client():
            while True:
                try:
                    return await replication.write("x", "v")
                except ReplicationError:
                    await asyncio.sleep(0)

        task = asyncio.create_task(client())
        await asyncio.sleep(0)
        async with replication:
            await task
            assert [region.store.keys() for region in regions] == [["x"]] * 3

    simulate(main)


def test_a_start_that_was_given_up_leaves_nobody_behind():
    async def main(world):
        regions = world.regions("east", "west", replication_lag="5s")
        for region in regions:
            region.store = MemoryStore(retain=1)
        for number in range(10):  # so that west needs a snapshot, which takes the lag
            regions["east"].store.append(number, number)
        replication = replication_of(world, regions, mode="synchronous")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await replication.start_replication()
        async with replication:
            await replication.write("order", "paid")
            assert regions["west"].store.get("order") == "paid"

    simulate(main)


@pytest.mark.parametrize("turns", range(3, 14))
def test_a_promotion_that_a_stop_meets_leaves_one_leader_and_no_task(turns):
    async def main(world):
        regions = world.regions("east", "west", "north", replication_lag="1s")
        replication = replication_of(world, regions)
        await replication.start_replication()
        await replication.write("a", 1)
        await world.clock.sleep(3)
        promotion = asyncio.create_task(replication.promote_region_to_primary("west"))
        for _ in range(turns):
            await asyncio.sleep(0)
        await replication.stop_replication()
        await replication.start_replication()
        await asyncio.wait([promotion])
        assert promotion.exception() is None or isinstance(promotion.exception(), PromotionFailed)
        await world.clock.sleep(15)
        assert (await replication.write("b", 2)).region == replication.primary.name
        await replication.stop_replication()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    simulate(main)


def test_the_lag_of_a_region_that_rejoins_is_that_of_what_it_missed():
    async def main(world, regions, replication):
        alerts = []
        replication.add_alert_callback(alerts.append)
        regions["east"].lose()
        await replication.promote_region_to_primary("west")
        await write_each_second(world, replication, range(60))
        regions["east"].restore()
        await replication.rejoin("east")
        lag = replication.lag("east")
        assert lag.changes == 60
        assert 59 <= lag.time.total_seconds() <= 60
        await world.clock.sleep(2)
        assert "lag_exceeded" in [alert.kind for alert in alerts]

    in_world(main, regions=3, max_lag="30s")


@pytest.mark.parametrize("turns", [1, 2, 3, 4])
def test_a_rejoin_that_is_cancelled_leaves_the_follower_as_it_was(turns):
    async def main(world, regions, replication):
        await replication.write("a", "b")
        task = asyncio.create_task(replication.rejoin("west"))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        await replication.write("c", "d")
        await replication.wait_caught_up("west", "10s")

    in_world(main, mode="synchronous", lag="1s")


def test_a_replication_that_breaks_keeps_no_write_waiting():
    async def main(world):
        regions = world.regions("east", "west", replication_lag="1s")
        replication = replication_of(world, regions, mode="synchronous")
        await replication.start_replication()

        def broken(*_):
            raise LookupError("a bug of it")

        regions["west"].store.apply = broken
        with pytest.raises(ReplicationError, match="a bug of it"):
            await replication.write("a", 1)
        assert world.clock.monotonic() < 5
        with pytest.raises(ReplicationError):
            await replication.stop_replication()

    simulate(main)
