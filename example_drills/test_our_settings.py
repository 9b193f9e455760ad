"""What would our recovery time be with those settings: HAProxy's checks, tried and compared.

The settings are those of a configuration file. Their formula says how long a dead server may go
unnoticed; a simulation of HAProxy's own checks says what comes of disasters at any moment; and the
drill measures what a client sees, with a manager that checks at the same times, when the disaster
strikes at the worst moment of all: just after a check.
"""

import asyncio

import pytest

from pytest_drdrill import HAProxyPreset, what_if

pytestmark = [pytest.mark.dr_service("web"), pytest.mark.dr_tier("critical")]

OURS = HAProxyPreset(inter="5s", fall=3, fastinter="1s", timeout_check="2s")


@pytest.fixture
def forecast():
    """What HAProxy does with our settings, predicted and simulated."""
    return what_if(OURS, samples=200)


@pytest.mark.disaster("infrastructure")
@pytest.mark.rto("8s")
async def test_our_checks_are_frequent_enough(
    forecast, simulated_endpoints, failover_manager, drill, rto_timer, rpo_timer
):
    rpo_timer.not_applicable("the web tier holds no data")
    dead = forecast.row("refused")
    assert dead.as_predicted
    drill.metric("predicted at worst", dead.predicted.longest.total_seconds(), "s")
    drill.metric("simulated median", dead.simulated.median.total_seconds(), "s")

    primary, standby = simulated_endpoints("primary", "standby", timeout=OURS.check_timeout)
    async with failover_manager([primary, standby], preset=OURS) as manager:

        async def client():
            await manager.get_active_endpoint().request()
            return True

        await asyncio.sleep(10.001)  # the third check was a moment ago
        with rto_timer.outage():
            primary.fail()
            await rto_timer.until(client, interval="10ms")

    assert rto_timer.elapsed <= dead.predicted.longest
