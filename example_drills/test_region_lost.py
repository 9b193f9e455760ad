"""A region is lost in mid-write, once with each replication mode, and gets its role back later.

Simulated: three regions, five seconds apart. Orders come in all the while; a ledger of those that
were acknowledged shows what each mode costs. Asynchronous replication loses the last five seconds;
the other two lose nothing, and each of their orders waits five seconds for its answer. A primary
that nobody reaches may acknowledge orders until its lease ends, so a promotion waits for that. The
failback has an objective of its own: orders are turned away only while the last ones are drained.
"""

import asyncio
from itertools import count

import pytest

from pytest_drdrill import IndeterminateWriteError, RegionUnreachableError, WriteRefusedError

pytestmark = [pytest.mark.dr_service("orders"), pytest.mark.dr_tier("critical")]
HOME = "us-east-1"


class Shop:
    """Takes orders, one every 200 ms, and keeps the ledger of them."""

    def __init__(self, data, clock, rpo_timer):
        self.data, self.clock, self.rpo_timer = data, clock, rpo_timer
        self._numbers = count(1)
        self._under_way = set()

    async def order(self):
        """One order; says whether it was acknowledged."""
        number = next(self._numbers)
        try:
            await self.data.write(number, "paid")
        except IndeterminateWriteError:
            self.rpo_timer.indeterminate(number)
            return False
        except (RegionUnreachableError, WriteRefusedError):  # turned away: nothing was promised
            return False
        self.rpo_timer.acknowledged(number)
        return True

    async def stay_open(self):
        """Orders for ever, none of which waits for the one before it."""
        while True:
            order = asyncio.create_task(self.order())
            self._under_way.add(order)
            order.add_done_callback(self._under_way.discard)
            await self.clock.sleep(0.2)


@pytest.mark.disaster("natural")
@pytest.mark.rto("20s")
@pytest.mark.parametrize(
    "mode",
    [
        pytest.param("asynchronous", marks=pytest.mark.rpo("5s")),
        pytest.param("semi-synchronous", marks=pytest.mark.rpo("0s")),
        pytest.param("synchronous", marks=pytest.mark.rpo("0s")),
    ],
)
async def test_orders_outlive_their_region(
    simulated_regions, replication, drill, rto_timer, rpo_timer, mode
):
    regions = simulated_regions(HOME, "us-west-2", "eu-west-1", replication_lag="5s")
    async with replication(regions, mode=mode) as data:
        shop = Shop(data, drill.clock, rpo_timer)
        orders = asyncio.create_task(shop.stay_open())
        await drill.clock.sleep(60)

        with rto_timer.outage("the region is lost"):
            regions[HOME].lose()
            served = asyncio.create_task(
                rto_timer.until(shop.order, interval="200ms", check_timeout="15s")
            )
            with drill.step("promote the most advanced region", owner="on-call"):
                promotion = await data.promote_region_to_primary()
            await served
        assert promotion.new != HOME
        rpo_timer.survived(await data.keys())
        assert rpo_timer.lost == [change.key for change in promotion.lost]
        drill.metric("orders lost", len(promotion.lost), "orders")

        await drill.clock.sleep(5 * 60)
        regions[HOME].restore()
        rejoin = await data.rejoin(HOME)
        assert {change.key for change in promotion.lost} <= {c.key for c in rejoin.discarded}
        drill.note(f"{HOME} gave up {len(rejoin.discarded)} orders that nobody else has")
        await data.wait_caught_up(HOME, timeout="10m")

        with rto_timer.outage("the failback", rto="16s"):
            watch = {"interval": "200ms", "hold": "1m", "check_timeout": "15s"}
            served = asyncio.create_task(rto_timer.until(shop.order, **watch))
            failback = await data.failback(HOME)
            await served
        assert failback.lost == ()
        orders.cancel()
        await drill.clock.sleep(30)  # for those that are under way
        rpo_timer.survived(await data.keys())
