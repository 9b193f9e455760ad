"""A primary dies while customers order; what the standby had not received by then is lost.

Simulated: replication is asynchronous, two seconds behind. The canary is one more customer, with an
order every 100 ms: it measures the outage that all of them saw, and which confirmed orders are gone
afterwards. That is fewer than the RPO allows, and none is damaged.
"""

import asyncio

import pytest

pytestmark = [pytest.mark.dr_service("orders"), pytest.mark.dr_tier("critical")]


@pytest.mark.disaster("infrastructure")
@pytest.mark.rto("1m", hold="30s")
@pytest.mark.rpo("3s")
async def test_confirmed_orders_survive_the_failover(
    simulated_endpoints, failover_manager, canary, rto_timer
):
    primary, standby = simulated_endpoints("primary", "standby")
    orders = {primary: {}, standby: {}}
    loop = asyncio.get_running_loop()

    async with failover_manager([primary, standby], check_interval="10s") as manager:

        def replicate(key, value):
            if primary.is_up:  # else it is lost with the primary
                orders[standby][key] = value

        async def order(key, value):
            active = manager.get_active_endpoint()
            await active.request()
            orders[active][key] = value
            if active is primary:
                loop.call_later(2, replicate, key, value)

        async with canary(
            write=order, read_all=lambda: orders[manager.get_active_endpoint()], interval="100ms"
        ) as customer:
            await asyncio.sleep(60)
            with rto_timer.outage():
                primary.fail()
                await manager.wait_until_active(standby)

    found = await customer.verify()
    assert 0 < len(found.lost) <= 20
    assert not found.corrupted
