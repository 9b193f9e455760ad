"""Disks that are full: of a secondary, which is tried again, and of the primary, which refuses."""

import pytest
from replication_world import in_world, told

from pytest_drdrill import PromotionFailed, ReplicationError, WriteRefusedError


def test_a_full_disk_of_a_secondary_is_an_alert_and_tried_again():
    alerts = []

    async def main(world, regions, replication):
        (host,) = world.hosts("db", place="west", capacity=100_000)
        await replication.stop_replication()
        regions["west"].serve_from(host)
        await replication.start_replication()
        replication.add_alert_callback(alerts.append)
        await replication.write(0, 0)
        await world.clock.sleep(2)
        host.disk.fill()
        for key in range(1, 60):
            await replication.write(key, key)
            await world.clock.sleep(1)
        assert regions["west"].store.keys() == [0]
        with pytest.raises(PromotionFailed, match="west does not answer any more"):
            await replication.promote_region_to_primary("west")
        await replication.write(60, 60)
        host.disk.empty()
        await replication.wait_caught_up("west", "1m")
        assert regions["west"].store.keys() == list(range(61))
        assert "secondary_recovered" in [
            kind for _, kind, _ in told(replication, "secondary_failed", "secondary_recovered")
        ]

    in_world(main, lag="1s")
    assert {each.kind for each in alerts} == {"secondary_failed"}
    assert len(alerts) <= 2  # the promotion that failed begins an epoch
    assert "its store takes no changes: [Errno 28] No space left on device" in alerts[0].message


def test_a_write_that_a_full_disk_does_not_take_is_refused():
    async def main(world, regions, replication):
        (host,) = world.hosts("db", place="east", capacity=100_000)
        await replication.stop_replication()
        regions["east"].serve_from(host)
        await replication.start_replication()
        await replication.write(0, 0)
        host.disk.fill()
        with pytest.raises(WriteRefusedError, match=r"east can't store a write: .*No space left"):
            await replication.write(1, 1)
        host.disk.empty()
        await replication.write(2, 2)
        assert await replication.keys() == [0, 2]

    in_world(main, lag="1s")


def test_a_secondary_fails_and_recovers_once_for_each_time_that_its_disk_is_full():
    async def main(world, regions, replication):
        (host,) = world.hosts("db", place="west", capacity=100_000)
        await replication.stop_replication()
        regions["west"].serve_from(host)
        await replication.start_replication()
        for times in range(2):
            host.disk.fill()
            for key in range(5):
                await replication.write(f"{times}, full: {key}", key)
                await world.clock.sleep(3)
            host.disk.empty()
            for key in range(5):
                await replication.write(f"{times}, empty: {key}", key)
                await world.clock.sleep(30)
        return [kind for _, kind, _ in told(replication, "secondary_failed", "secondary_recovered")]

    assert in_world(main, lag="1s") == ["secondary_failed", "secondary_recovered"] * 2


def test_a_start_with_a_primary_whose_disk_is_full_says_so_and_leaves_nothing_running():
    async def main(world, regions, replication):
        (host,) = world.hosts("db", place="east", capacity=100_000)
        await replication.stop_replication()
        regions["east"].serve_from(host)
        host.disk.fill()
        with pytest.raises(ReplicationError, match=r"east, can't store its epoch: .*No space left"):
            await replication.start_replication()
        host.disk.empty()
        await replication.start_replication()
        await replication.write(0, 0)

    in_world(main, lag="1s")


def test_a_renewal_that_the_store_of_the_primary_refuses_is_followed_by_others():
    async def main(world, regions, replication):
        store, refused = regions["east"].store, []
        promise = store.promise

        def full_once(epoch):
            if not refused:
                refused.append(epoch)
                raise OSError(28, "No space left on device")
            promise(epoch)

        store.promise = full_once
        await world.clock.sleep(60)
        assert refused == [1]
        await replication.write(0, 0)

    in_world(main, lag="1s")
