"""The primary hears everybody, and nobody hears the primary: what is an order without an answer?

Simulated. A partition that is open in one direction is the worst of the three: each order arrives
and is carried out, and its answer is lost. No side has acknowledged it, so it is neither lost nor
safe, and a client that takes silence for either is wrong some day. The old primary does hear that
it is superseded; when it is back it gives up, by name, what nobody was ever told of.
"""

import asyncio
from itertools import count

import pytest

from pytest_drdrill import IndeterminateWriteError, RegionUnreachableError, WriteRefusedError

pytestmark = [pytest.mark.dr_service("orders"), pytest.mark.dr_tier("critical")]
HOME = "us-east-1"


@pytest.mark.disaster("infrastructure")
@pytest.mark.rto("30s")
@pytest.mark.rpo("0s")
async def test_an_order_without_an_answer_is_neither_lost_nor_safe(
    simulated_world, replication, drill, rto_timer, rpo_timer
):
    regions = simulated_world.regions(HOME, "us-west-2", replication_lag="100ms")
    simulated_world.network.everywhere(latency="35ms")

    async with replication(regions, mode="synchronous", write_timeout="5s") as data:
        numbers = count(1)

        async def order():
            number = next(numbers)
            try:
                await data.write(number, "paid")
            except IndeterminateWriteError:
                rpo_timer.indeterminate(number)
                return False
            except (RegionUnreachableError, WriteRefusedError):  # turned away
                return False
            rpo_timer.acknowledged(number)
            return True

        for _ in range(50):
            assert await order()

        with rto_timer.outage("nobody hears the primary"):
            cut = simulated_world.network.partition(HOME, one_way=True)
            unheard = [asyncio.create_task(order()) for _ in range(10)]
            promoting = asyncio.create_task(data.promote_region_to_primary())
            await rto_timer.until(order, interval="1s", check_timeout="6s")
            await asyncio.gather(promoting, *unheard)

        cut.heal()
        rejoin = await data.rejoin(HOME)
        assert {change.key for change in rejoin.discarded} >= set(range(51, 61))
        drill.metric("orders that nobody answered", len(rejoin.discarded), "orders")
        rpo_timer.survived(await data.keys())
