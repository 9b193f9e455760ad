"""A primary flaps, two minutes down and two minutes up; traffic leaves it once and stays away.

Simulated: half an hour of checks and of a client's requests every second takes a moment, and comes
out the same every time. The failback is delayed, or users would suffer a failover every four
minutes: only after five minutes of steady health does the primary get its traffic back.
"""

import pytest

pytestmark = [pytest.mark.dr_service("web"), pytest.mark.dr_tier("critical")]


@pytest.mark.disaster("infrastructure")
@pytest.mark.rto("1m", hold="15m")
async def test_traffic_leaves_a_flapping_primary_once(
    simulated_endpoints, failover_manager, rto_timer, rpo_timer
):
    rpo_timer.not_applicable("the web tier holds no data")
    primary, standby = simulated_endpoints("primary", "standby")
    moves = []

    async with failover_manager(
        [primary, standby], check_interval="10s", failback="delayed", failback_delay="5m"
    ) as manager:
        manager.add_failover_callback(lambda old, new: moves.append((old.name, new.name)))

        async def client():
            await manager.get_active_endpoint().request()
            return True

        with rto_timer.outage():
            primary.flap("4m")
            await rto_timer.until(client, interval="1s")
        assert moves == [("primary", "standby")]  # and not one more in a quarter of an hour

        primary.recover()
        await manager.wait_until_active(primary, timeout="10m")
    assert moves == [("primary", "standby"), ("standby", "primary")]
