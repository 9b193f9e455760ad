"""Parts of the drills that are run in a pytest of their own."""

FAILS_OVER = """
    primary, standby = simulated_endpoints("primary", "standby")
    async with failover_manager([primary, standby], jitter="1s") as manager:
        with rto_timer.outage():
            primary.fail()
            await manager.wait_until_active(standby)
""".lstrip("\n")
"""A simulated drill's body: a primary fails under a manager with jitter: its seed counts."""
