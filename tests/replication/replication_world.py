"""Replications in a simulated world, and what its onlookers see."""

from __future__ import annotations

from pytest_drdrill import CrossRegionReplication, simulate

NAMES = ("east", "west", "north")


def in_world(main, *, regions=2, lag="5s", seed=0, **settings):
    """Run ``main(world, regions, replication)`` with the replication running."""

    async def run(world):
        made = world.regions(*NAMES[:regions], replication_lag=lag)
        replication = replication_of(world, made, **settings)
        async with replication:
            return await main(world, made, replication)

    return simulate(run, seed=seed)


def replication_of(world, regions, **settings):
    return CrossRegionReplication(
        regions, network=world.network, clock=world.clock, seed=world.seed, **settings
    )


def told(replication, *kinds):
    return [
        (event.monotonic, event.kind, event.region)
        for event in replication.events
        if event.kind in kinds
    ]
