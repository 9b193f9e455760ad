"""Lag, lost connections, and who is told of them."""

from datetime import timedelta
from itertools import pairwise

import pytest
from replication_world import in_world, told

from pytest_drdrill import ReplicationAlert, ReplicationError


def test_lag_in_changes_bytes_and_time():
    async def main(world, regions, replication):
        await world.clock.sleep(60)
        assert replication.lag("west") == (0, 0, timedelta())  # idle, and no lag for that
        await replication.write("key", "ключ")
        await world.clock.sleep(2)
        await replication.write("key", b"123")
        await replication.write(7, 1.5)
        await world.clock.sleep(1)
        assert replication.lag("west") == (3, 3 + 8 + 3 + 3 + 16, timedelta(seconds=3))
        await world.clock.sleep(3)
        assert replication.lag("west") == (2, 3 + 3 + 16, timedelta(seconds=4))
        await world.clock.sleep(2)
        assert replication.lag("west") == (0, 0, timedelta())
        with pytest.raises(ValueError, match="no region is named 'mars'"):
            replication.lag("mars")
        with pytest.raises(ReplicationError, match="east does not follow east, so it has no lag"):
            replication.lag("east")

    in_world(main)


def test_of_an_idle_primary_that_is_not_answered_the_lag_grows():
    async def main(world, regions, replication):
        await replication.write("a", 1)
        await world.clock.sleep(60.5)
        regions["west"].isolate()
        await world.clock.sleep(100)
        lag = replication.lag("west")
        assert (lag.changes, lag.time) == (0, timedelta(seconds=100.5))
        regions["west"].restore()
        await world.clock.sleep(2)
        assert replication.lag("west").time == timedelta()

    in_world(main)


def test_a_copy_that_is_as_long_and_holds_something_else_is_no_copy():
    async def main(world, regions, replication):
        regions["west"].lag_s = 9
        regions["north"].store._retain = 1
        for n in range(20):
            await replication.write(n, n)
            await world.clock.sleep(1)
        await replication.promote_region_to_primary("west")
        ahead = regions["north"].store.history.position - regions["west"].store.history.position
        assert ahead > 0
        for n in range(ahead):
            await replication.write(f"new {n}", n)
        await world.clock.sleep(4.5)  # in five seconds it has a snapshot
        assert regions["north"].store.history.position == replication.lag("north").changes
        assert replication.lag("north").time == timedelta(seconds=4.5)
        await world.clock.sleep(6)
        assert replication.lag("north").time == timedelta()

    in_world(main, regions=3)


def test_alerts_are_raised_once_each_and_awaited_in_order():
    alerts = []

    async def page(alert):
        alerts.append((alert.kind, alert.region, alert.other))

    def broken(alert):
        assert isinstance(alert, ReplicationAlert)
        raise LookupError("no pager")

    async def main(world, regions, replication):
        replication.add_alert_callback(broken)
        replication.add_alert_callback(page)
        with pytest.raises(TypeError, match="must be callable with an alert: 'page'"):
            replication.add_alert_callback("page")
        await world.clock.sleep(10.5)
        await replication.write("a", 1)
        regions["north"].isolate()
        await world.clock.sleep(100)
        regions["north"].restore()
        await world.clock.sleep(60)
        return replication.events

    events = in_world(main, regions=3, lag="1s", max_lag="20s")
    assert alerts == [
        ("connection_lost", "east", "north"),
        ("connection_lost", "west", "north"),
        ("lag_exceeded", "north", "east"),
    ]
    kinds = {}
    for event in events:
        kinds.setdefault(event.kind, []).append((event.monotonic, event.region, event.other))
    assert kinds["connection_lost"] == [(15, "east", "north"), (15, "west", "north")]
    assert kinds["connection_restored"] == [(111, "east", "north"), (111, "west", "north")]
    assert kinds["lag_exceeded"] == [(31, "north", "east")]
    assert len(kinds["lag_recovered"]) == 1
    assert len(kinds["callback_failed"]) == 3
    reasons = [each.reason for each in events if each.kind == "callback_failed"]
    assert "broken raised LookupError('no pager')" in reasons[0]
    lag = next(each for each in events if each.kind == "lag_exceeded")
    assert lag.reason == "20.5s behind, 20s are allowed"


def test_an_alert_may_promote_and_may_not_stop_what_waits_for_it():
    async def main(world, regions, replication):
        async def take_over(alert):
            await replication.promote_region_to_primary()
            await replication.stop_replication()

        replication.add_alert_callback(take_over)
        regions["east"].lose()
        await world.clock.sleep(30)
        assert replication.primary is regions["west"]
        return [each.reason for each in replication.events if each.kind == "callback_failed"]

    (reason,) = in_world(main)
    assert "a callback can't stop the replication that waits for its end" in reason


def test_a_short_interruption_is_no_alert():
    async def main(world, regions, replication):
        await world.clock.sleep(10.5)
        regions["west"].isolate()
        await world.clock.sleep(4)
        regions["west"].restore()
        await world.clock.sleep(60)
        return told(replication, "connection_lost", "connection_restored")

    assert in_world(main) == []


def test_a_stream_that_breaks_is_tried_again_less_and_less_often():
    def tries(seed):
        async def main(world, regions, replication):
            await replication.write("a", 1)
            regions["west"].isolate()
            found, carry = [], world.network.carry

            async def noted(source, target, *, changes=False):
                found.append(world.clock.monotonic())
                await carry(source, target, changes=changes)

            world.network.carry = noted
            await world.clock.sleep(100)
            return found

        slow = {"heartbeat_interval": "1h", "lease": "1h"}
        return in_world(main, seed=seed, lag="1s", retry_interval="1s", **slow)

    found = tries(1)
    waits = [after - before for before, after in pairwise(found)]
    assert all(a <= b for a, b in zip([0.5, 1, 2, 4, 5, 5], waits[1:], strict=False))
    assert all(wait <= 10 for wait in waits)
    assert max(waits) > 5
    assert tries(1) == found
    assert tries(2) != found
