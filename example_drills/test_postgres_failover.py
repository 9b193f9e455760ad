"""A PostgreSQL primary dies under load; its standby takes over; a client says what that cost.

A client writes through all of it, one row a commit, and goes to whichever server takes writes. The
first drill promises that nothing which was confirmed is lost, which takes a standby that commits
wait for: where they do not, the drill can't begin. The old primary then becomes the standby of the
new one. The second drill says what an asynchronous standby costs whose link is slow.
"""

import asyncio

import pytest

from pytest_drdrill import postgres_canary

pytestmark = [pytest.mark.dr_service("orders"), pytest.mark.disaster("infrastructure")]


@pytest.mark.dr_tier("critical")
@pytest.mark.rto("30s")
@pytest.mark.rpo("0s")
async def test_no_commit_is_lost_with_the_primary(
    postgres_primary, postgres_standby, canary, drill, rto_timer
):
    primary = postgres_primary
    standby = postgres_standby(synchronous=True)
    drill.require("commits wait for the standby", primary.has_sync_standby)
    async with canary(postgres_canary(primary, standby), interval="10ms") as client:
        await asyncio.sleep(0.5)  # under load
        with rto_timer.outage():
            primary.kill()
            await asyncio.to_thread(standby.promote)
    await client.verify()

    rejoined = await asyncio.to_thread(primary.rejoin, standby, synchronous=True)
    assert standby.has_sync_standby()
    drill.note(f"the old primary was {rejoined.how}")


@pytest.mark.dr_tier("critical")
@pytest.mark.rpo("1m")
async def test_a_slow_link_costs_what_it_delays(
    postgres_primary, postgres_standby, fault_proxy, canary, drill, rto_timer
):
    primary = postgres_primary
    link = fault_proxy("127.0.0.1", primary.port)
    standby = postgres_standby(through=link)
    async with canary(postgres_canary(primary, standby), interval="10ms") as client:
        link.latency("300ms")
        await asyncio.sleep(1)
        with rto_timer.outage():
            link.reset(new=True)  # the machine is gone, and with it what was on its way
            primary.kill()
            await asyncio.to_thread(standby.promote)
    result = await client.verify()

    assert 0 < len(result.lost) < result.acknowledged
    drill.metric("commits lost", len(result.lost))
