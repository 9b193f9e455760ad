"""What tests of several parts of the simulated world ask."""


async def outcome(world, endpoint, patience=None, **more):
    """What a request ended in, and the millisecond at which it did."""
    try:
        async with world.clock.timeout(patience):
            await endpoint.request(**more)
    except (OSError, TimeoutError) as error:
        return type(error).__name__, round(world.clock.monotonic() * 1000, 3)
    return "answered", round(world.clock.monotonic() * 1000, 3)
