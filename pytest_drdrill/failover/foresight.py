"""What a prober may know of checks before they are made, as one of a simulated world does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Generator

    from pytest_drdrill.clock import Clock
    from pytest_drdrill.failover.endpoint import ServiceEndpoint
    from pytest_drdrill.failover.prober import Prober, ProbeResult


class Lull(Protocol):
    """A wait that passes over checks; to be awaited, it ends when the next one is to begin.

    Attributes:
        passed: how many it passed over, once it has ended, be it by a cancellation.
    """

    passed: int

    def __await__(self) -> Generator[object, None, None]:
        """Wait for the check that must be made."""
        ...


class Foresight(Protocol):
    """What is known of the checks of one endpoint before they are made."""

    def answer(self) -> ProbeResult | None:
        """What a check that begins now finds, where it does so at once; else None."""
        ...

    def lull(self, found: ProbeResult, wait: float, interval: float, timeout: float) -> Lull | None:
        """Begin to pass over the checks that find the same again.

        All else goes on as if they were made: it is as it would be, and in the same order.

        Args:
            found: what the last check found.
            wait: seconds until the next one.
            interval: seconds from the start of one to the start of the next, from then on.
            timeout: seconds that each may take.

        Returns:
            None where the next check has to be made.
        """
        ...


@runtime_checkable
class ForesightedProber(Protocol):
    """A prober that knows some answers before it asks."""

    def foresee(self, endpoint: ServiceEndpoint, clock: Clock) -> Foresight | None:
        """What checks of an endpoint will find; None where only making them can tell.

        Args:
            endpoint: the endpoint.
            clock: by which it is checked.
        """
        ...


def foresight_of(prober: Prober, endpoint: ServiceEndpoint, clock: Clock) -> Foresight | None:
    """What a prober knows of the checks of an endpoint; None for one that has to ask."""
    # The class is asked: an object of a test's own may seem to have every method.
    if not issubclass(type(prober), ForesightedProber):
        return None
    return cast("ForesightedProber", prober).foresee(endpoint, clock)
