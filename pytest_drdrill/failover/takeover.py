"""A takeover: fence, promote, switch, in that order; what was done only in part is remembered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_drdrill.durations import format_seconds
from pytest_drdrill.failover.errors import FailoverFailed
from pytest_drdrill.failover.protocols import FencingProof

if TYPE_CHECKING:
    from asyncio import Timeout
    from collections.abc import Awaitable, Callable, Sequence

    from pytest_drdrill.clock import Clock
    from pytest_drdrill.failover.endpoint import ServiceEndpoint
    from pytest_drdrill.failover.events import Record
    from pytest_drdrill.failover.protocols import Fencer, Promoter, TrafficSwitch


class Takeover:
    """Makes one endpoint lead and get the traffic, and keeps book of what is known to be so.

    A step that fails may have taken effect, wholly or in part. So before each step the book says
    that it may have, and only its success says that it has. The next takeover, to the same endpoint
    (a retry), to the old one (an undo) or to a third, begins from there: whoever may lead is fenced
    with proof, and whoever may get traffic is deactivated. This survives the end of the monitoring.

    Args:
        endpoints: all of them; the first one leads.
        fencer: fences, or None where endpoints hold nothing that two of them could spoil.
        promoter: promotes, or None where an endpoint needs no promotion.
        switch: moves the traffic, or None where clients ask who is active.
        step_timeout: seconds that each step may take.
        clock: the clock.
        record: where events go.
    """

    def __init__(  # noqa: PLR0913 - wired once, by keyword
        self,
        endpoints: Sequence[ServiceEndpoint],
        *,
        fencer: Fencer | None,
        promoter: Promoter | None,
        switch: TrafficSwitch | None,
        step_timeout: float,
        clock: Clock,
        record: Record,
    ) -> None:
        self._fencer = fencer
        self._promoter = promoter
        self._switch = switch
        self._step_timeout = step_timeout
        self._clock = clock
        self._record = record
        # Dicts, for their order. A standby that was never promoted does not lead.
        self._may_lead = {} if fencer is None else {endpoints[0].name: endpoints[0]}
        self._endpoints = endpoints
        self._leads: str | None = endpoints[0].name
        self.begin()

    def begin(self) -> None:
        """Forget where traffic goes: while nothing was watched, others may have changed that."""
        served = () if self._switch is None else self._endpoints
        self._may_serve = {each.name: each for each in served}
        self._serves: str | None = None

    @property
    def moves_traffic(self) -> bool:
        """Whether there is a switch, which has to be told even when nothing ever fails."""
        return self._switch is not None

    def is_complete(self, active: ServiceEndpoint | None) -> bool:
        """Whether an endpoint, and no other, is known to lead and to get the traffic.

        Of no endpoint: whether none gets traffic; who led may lead until another one takes over.
        """
        name = None if active is None else active.name
        if self._switch is not None and (
            self._serves != name or any(other != name for other in self._may_serve)
        ):
            return False
        return name is None or (
            self._leads == name and all(other == name for other in self._may_lead)
        )

    async def to(self, target: ServiceEndpoint | None, usable: Callable[[], bool]) -> None:
        """Do what is left to do until ``is_complete``.

        Args:
            target: who is to lead; None: nobody gets traffic.
            usable: whether the target still is; one that went down meanwhile does not take over.

        Raises:
            FailoverFailed: a step failed, or took too long.
        """
        if target is not None:
            for each in [each for each in self._may_lead.values() if each.name != target.name]:
                await self._fence(each)
            if self._leads != target.name:
                _check(target, usable, "promoted")
                await self._promote(target)
        switch = self._switch
        if switch is None:
            return
        name = None if target is None else target.name
        for each in [each for each in self._may_serve.values() if each.name != name]:
            if self._serves == each.name:
                self._serves = None
            await self._step(f"deactivating {each.name}", switch.deactivate, each)
            del self._may_serve[each.name]
        if target is not None and self._serves != target.name:
            _check(target, usable, "given the traffic")
            self._may_serve[target.name] = target
            await self._step(f"activating {target.name}", switch.activate, target)
            self._serves = target.name
            self._record("traffic_switched", endpoint=target.name)

    async def _fence(self, endpoint: ServiceEndpoint) -> None:
        assert self._fencer is not None  # or nobody is entered as one who may lead
        name = endpoint.name
        if self._leads == name:
            self._leads = None
        proof = await self._step(f"fencing {name}", self._fencer.fence, endpoint)
        if not isinstance(proof, FencingProof):
            raise FailoverFailed(
                f"fencing {name} failed: no proof; a fencer returns a FencingProof, not {proof!r}"
            )
        del self._may_lead[name]
        reason = f"{proof.kind.replace('_', ' ')}: {proof.detail}"
        self._record("endpoint_fenced", endpoint=name, reason=reason)

    async def _promote(self, endpoint: ServiceEndpoint) -> None:
        name = endpoint.name
        if self._fencer is not None:
            self._may_lead[name] = endpoint
        if self._promoter is not None:
            await self._step(f"promoting {name}", self._promoter.promote, endpoint)
            self._record("endpoint_promoted", endpoint=name)
        self._leads = name

    async def _step(
        self,
        what: str,
        call: Callable[[ServiceEndpoint], Awaitable[Any]],
        endpoint: ServiceEndpoint,
    ) -> Any:
        return await run_step(what, lambda: call(endpoint), self._step_timeout, self._clock)


async def run_step(
    what: str, call: Callable[[], Awaitable[Any]], timeout_s: float, clock: Clock
) -> Any:
    """One call of a fencer, a promoter or a switch, bounded; returns what it returned.

    Args:
        what: it does, for the message.
        call: makes it.
        timeout_s: seconds that it may take.
        clock: the clock.

    Raises:
        FailoverFailed: it raised, or its answer did not come in time.
    """
    limit = clock.timeout(timeout_s)
    try:
        async with limit:
            outcome = await call()
        # Some code swallows its cancellation; its answer is late all the same.
        _refuse_late(limit)
    except Exception as error:
        why = str(error) or type(error).__name__
        if limit.expired():
            why = f"not done within {format_seconds(timeout_s)}"
        raise FailoverFailed(f"{what} failed: {why}") from error
    return outcome


def _refuse_late(limit: Timeout) -> None:
    if limit.expired():
        raise TimeoutError


def _check(target: ServiceEndpoint, usable: Callable[[], bool], step: str) -> None:
    if not usable():
        raise FailoverFailed(f"{target.name} became unhealthy before it was {step}")
