"""A partition cuts the primary off, and both sides live: its clients still reach it.

Simulated. Each node accepts writes while it holds the lease, which it renews every two seconds for
ten more. The standby is promoted only once the primary's lease has run out, so at no instant do two
nodes accept writes; the price is what the primary acknowledged in the meantime, which the drill
measures as lost. Where the lease can't be shown to have run out, nothing is promoted at all.
"""

import asyncio

import pytest

from pytest_drdrill import FailoverTimeoutError, FencingProof

pytestmark = [pytest.mark.dr_service("orders"), pytest.mark.disaster("infrastructure")]

TTL = 10.0


class Node:
    """A database: accepts writes while its lease holds, and copies them to its peers if it can."""

    def __init__(self, endpoint, clock):
        self.endpoint, self.clock = endpoint, clock
        self.lease_until, self.cut_off, self.rows, self.accepted = 0.0, False, set(), []

    def write(self, key, peers):
        """Accept a row, or refuse it; without waiting for the copies."""
        if self.clock.monotonic() >= self.lease_until:
            raise PermissionError(f"{self.endpoint.name} holds no lease")
        self.accepted.append(self.clock.monotonic())
        self.rows.add(key)
        for peer in peers:
            if not (self.cut_off or peer.cut_off):
                peer.rows.add(key)


class Leases:
    """Who may accept writes, and until when; fences by waiting, and promotes by granting."""

    def __init__(self, nodes, clock):
        self.nodes = {node.endpoint.name: node for node in nodes}
        self.clock, self.holder, self.until, self.reachable = clock, None, 0.0, True

    async def renew_forever(self):
        """What each holder does for itself, while it reaches the others."""
        while True:
            holder = self.nodes.get(self.holder)
            if holder is not None and not holder.cut_off:
                holder.lease_until = self.until = self.clock.monotonic() + TTL
            await self.clock.sleep(2)

    async def fence(self, endpoint):
        """Refuse to renew its lease, and wait until that has run out."""
        if not self.reachable:
            raise ConnectionError("the lease store does not answer")
        if self.holder == endpoint.name:
            self.holder = None  # nobody renews it any more
        await self.clock.sleep(max(0.0, self.until - self.clock.monotonic()))
        return FencingProof("lease_expired", f"{endpoint.name} held it until {self.until:g} s")

    async def promote(self, endpoint):
        """Grant it the lease."""
        self.holder = endpoint.name
        self.until = self.clock.monotonic() + TTL
        self.nodes[endpoint.name].lease_until = self.until


@pytest.fixture
def site(simulated_endpoints, drill):
    endpoints = simulated_endpoints("primary", "standby", timeout="1s")
    nodes = [Node(endpoint, drill.clock) for endpoint in endpoints]
    return nodes, Leases(nodes, drill.clock)


def partition(node):
    """The monitor and the other nodes no longer reach it; it lives, and so do its clients."""
    node.cut_off = True
    node.endpoint.fail("silent")


@pytest.mark.dr_tier("critical")
@pytest.mark.rto("30s")
@pytest.mark.rpo("15s")
async def test_at_no_instant_do_two_nodes_accept_writes(
    site, active_passive_cluster, drill, rto_timer, rpo_timer
):
    nodes, leases = site
    primary, standby = nodes
    await leases.promote(primary.endpoint)
    renewing = asyncio.create_task(leases.renew_forever())

    async def clients_beside_the_primary():
        for number in range(1_000):
            try:
                primary.write(number, [standby])
            except PermissionError:
                return
            rpo_timer.acknowledged(number)
            await drill.clock.sleep(0.1)

    async with active_passive_cluster(
        primary.endpoint,
        standby.endpoint,
        fencer=leases,
        promoter=leases,
        check_interval="2s",
        failback="manual",
    ) as cluster:
        beside = asyncio.create_task(clients_beside_the_primary())

        async def write_through_the_cluster():
            active = leases.nodes[cluster.route().name]
            if active is primary:
                return False  # which is out of their reach
            active.write("after the failover", [])
            return True

        await drill.clock.sleep(5)
        with rto_timer.outage("the primary is cut off"):
            partition(primary)
            await rto_timer.until(write_through_the_cluster, interval="100ms")
        await beside
    renewing.cancel()

    assert primary.accepted[-1] < standby.accepted[0]
    rpo_timer.survived(standby.rows)


async def test_without_proof_nothing_is_promoted(site, active_passive_cluster, drill):
    nodes, leases = site
    primary, standby = nodes
    await leases.promote(primary.endpoint)

    async with active_passive_cluster(
        primary.endpoint,
        standby.endpoint,
        fencer=leases,
        promoter=leases,
        check_interval="2s",
        step_timeout="15s",
    ) as cluster:
        leases.reachable = False
        partition(primary)
        with pytest.raises(FailoverTimeoutError):
            await cluster.wait_until_active("standby", timeout="5m")
        assert cluster.get_active_endpoint() is primary.endpoint
        refused = [each for each in cluster.events if each.kind == "failover_failed"]
        drill.metric("takeovers refused", len(refused))
        assert "the lease store does not answer" in refused[0].reason
        assert leases.holder == "primary"

        leases.reachable = True  # now it can be shown
        await cluster.wait_until_active("standby", timeout="1m")
    assert not standby.rows
