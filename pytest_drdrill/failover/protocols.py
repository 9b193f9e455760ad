"""What moving traffic takes: who fences, who promotes and who switches, as protocols."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, get_args, runtime_checkable

if TYPE_CHECKING:
    from pytest_drdrill.failover.endpoint import ServiceEndpoint

ProofKind: TypeAlias = Literal["process_dead", "lease_expired", "write_refused"]


@dataclass(frozen=True, slots=True)
class FencingProof:
    """What shows that an endpoint can't accept work any more.

    Attributes:
        kind: ``process_dead`` (it was seen to have ended), ``lease_expired`` (it holds no lease any
            more, and accepts nothing without one) or ``write_refused`` (it was asked, and refused).
        detail: what was seen, for a reader, such as ``"pid 4711 exited with -9"``.

    Raises:
        ValueError: no such kind, or no detail.
    """

    kind: ProofKind
    detail: str

    def __post_init__(self) -> None:
        if self.kind not in get_args(ProofKind):
            known = ", ".join(repr(each) for each in get_args(ProofKind))
            raise ValueError(f"a proof of fencing is one of {known}, not {self.kind!r}")
        if not isinstance(self.detail, str) or not self.detail.strip():
            raise ValueError(f"a proof of fencing says what was seen; {self.detail!r} says nothing")


@runtime_checkable
class Fencer(Protocol):
    """Keeps an endpoint from accepting work, before another one takes over."""

    async def fence(self, endpoint: ServiceEndpoint) -> FencingProof:
        """Fence an endpoint, and return what proves it.

        Called again where it is not known how an earlier call ended, so fencing what is fenced is
        no error. Whatever else it returns or raises, and no answer in time, means that the endpoint
        may still accept work: the takeover has failed.
        """
        ...


@runtime_checkable
class Promoter(Protocol):
    """Makes an endpoint the one that accepts work."""

    async def promote(self, endpoint: ServiceEndpoint) -> None:
        """Promote an endpoint, fenced or not, and return once it accepts work.

        Called only when every other one that might accept work is proven to be fenced, and again
        where it is not known how an earlier call ended: promoting a leader is no error. It raises
        when the endpoint must not or can't lead, such as one that is not caught up. A call that was
        cancelled, as after ``step_timeout``, must not take effect later: what goes on in a thread
        does, and then two might lead.
        """
        ...


@runtime_checkable
class TrafficSwitch(Protocol):
    """Sends traffic to endpoints: a load balancer, a DNS record, a virtual address.

    Both calls are made again where it is not known how an earlier one ended, so asking for what is
    so already is no error. A call that was cancelled must not take effect later.
    """

    async def activate(self, endpoint: ServiceEndpoint) -> None:
        """Send traffic to an endpoint; returns once that is so, raises when it can't be done."""
        ...

    async def deactivate(self, endpoint: ServiceEndpoint) -> None:
        """Send no traffic to an endpoint any more; returns once that is so, raises otherwise."""
        ...


@runtime_checkable
class WeightedSwitch(TrafficSwitch, Protocol):
    """A switch that shares traffic among several endpoints by their weights."""

    async def set_weight(self, endpoint: ServiceEndpoint, weight: int) -> None:
        """Set the weight of an endpoint, active or about to be.

        Its share of the traffic is that over the sum of the weights of all that are active.

        Args:
            endpoint: the endpoint.
            weight: from 0, which drains it: what is under way goes on, and nothing new comes.
        """
        ...
