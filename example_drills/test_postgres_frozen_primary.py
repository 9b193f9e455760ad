"""A primary freezes, its standby is promoted, and it thaws: are there two primaries now?

Without fencing there are: the frozen one goes on where it was, and takes writes that nobody will
see. The first drill shows that, and ends it. The second one leaves it to a failover manager, which
fences the old primary, with proof, before it promotes the other one.
"""

import asyncio

import pytest

from pytest_drdrill import PostgresError, PostgresFailover, postgres_canary

pytestmark = [pytest.mark.dr_service("orders"), pytest.mark.dr_tier("critical")]


@pytest.mark.disaster("infrastructure")
def test_without_fencing_both_take_writes(
    postgres_primary, postgres_standby, drill, rto_timer, rpo_timer
):
    rpo_timer.not_applicable("shown by hand: which writes are on one side only")
    primary, standby = postgres_primary, postgres_standby()
    primary.query("create table orders (id int)")
    standby.wait_caught_up()
    with rto_timer.outage():
        primary.pause()
        standby.promote()
        standby.query("insert into orders values (1)")

    primary.resume(even_superseded=True)
    primary.query("insert into orders values (2)")  # confirmed, and on the wrong side
    assert primary.is_primary()
    assert standby.is_primary()
    proof = primary.fence("demote")
    assert proof.kind == "write_refused"
    with pytest.raises(Exception, match="read-only transaction"):
        primary.query("insert into orders values (3)")
    assert standby.query("select id from orders") == [(1,)]
    drill.finding("order 2 was confirmed by a primary that nobody had fenced", owner="dba")


@pytest.mark.disaster("infrastructure")
@pytest.mark.rto("30s")
async def test_a_frozen_primary_is_fenced_before_another_one_leads(
    postgres_primary, postgres_standby, failover_manager, canary, rto_timer
):
    primary, standby = postgres_primary, postgres_standby(synchronous=True)
    hands = PostgresFailover(primary, standby)
    parts = {"prober": hands, "fencer": hands, "promoter": hands}
    client = canary(postgres_canary(primary, standby), timeout="500ms")
    async with (
        failover_manager(hands.endpoints, check_interval="200ms", **parts) as manager,
        client,
    ):
        with rto_timer.outage():
            primary.pause()
            await manager.wait_until_active(hands.endpoints[1])
    await client.verify()

    assert not primary.is_running
    with pytest.raises(PostgresError, match="superseded by standby"):
        primary.start()
    await asyncio.to_thread(primary.rejoin, standby)
    assert not primary.is_primary()
