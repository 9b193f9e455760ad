"""A primary is down for a quarter of an hour of maintenance; an operator brings traffic back to it.

Simulated: nobody waits for the quarter of an hour. The failback has an objective of its own, since
it is no emergency: a client that is watched for ten minutes around it must not notice.
"""

import asyncio

import pytest

pytestmark = [pytest.mark.dr_service("web"), pytest.mark.dr_tier("important")]


@pytest.mark.disaster("human_error")
@pytest.mark.rto("5m")
async def test_nobody_notices_the_failback_after_maintenance(
    simulated_endpoints, failover_manager, drill, rto_timer, rpo_timer
):
    rpo_timer.not_applicable("the web tier holds no data")
    primary, standby = simulated_endpoints("primary", "standby")

    async with failover_manager([primary, standby], failback="manual") as manager:

        async def client():
            await manager.get_active_endpoint().request()
            return True

        with rto_timer.outage("the maintenance begins"):  # without a word to the manager
            primary.fail()
            primary.recover_at("15m")
            await rto_timer.until(client, interval="1s")
        await drill.clock.sleep(20 * 60)
        assert manager.get_active_endpoint() is standby  # until somebody says so

        with rto_timer.outage("the failback", rto="1s", expect_downtime=False):
            watch = asyncio.create_task(
                rto_timer.until(client, interval="200ms", hold="10m", timeout="11m")
            )
            await drill.clock.sleep(5 * 60)
            with drill.step("move traffic back", owner="on-call"):
                await manager.failback()
            await watch
        assert manager.get_active_endpoint() is primary
