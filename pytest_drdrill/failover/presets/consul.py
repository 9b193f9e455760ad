"""Consul: checks that an agent makes, and checks that a service keeps alive itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar

from pytest_drdrill.durations import format_duration
from pytest_drdrill.failover import settings
from pytest_drdrill.failover.presets.base import Fault, Preset, Span
from pytest_drdrill.failover.presets.polled import NOW, PolledPreset, Polling

REAP_INTERVAL = timedelta(seconds=30)
"""How often an agent looks for services to deregister; no setting of Consul's."""
_LEAST_INTERVAL = timedelta(seconds=1)
_LEAST_DEREGISTRATION = timedelta(minutes=1)
_DEREGISTERED = (
    " deregistered: critical + deregister_critical_service_after, at the agent's next look, which "
    "it has every 30s."
)
_SOURCE_OF_IT = "agent/config/default.go (CheckReapInterval, CheckDeregisterIntervalMin)"


@dataclass(frozen=True)
class ConsulPreset(PolledPreset):
    """A check that a Consul agent makes, over HTTP, TCP or gRPC.

    A service that is critical is no longer given to those who ask for healthy ones. What DNS caches
    and clients keep is not in the prediction.

    Attributes:
        interval: from the end of a check to the start of the next one; Consul has no default, and
            takes none below 1s. 10s is what its documentation uses.
        timeout: how long a check may take.
        failures_before_critical: failed checks in a row until it is critical; 0 is as good as 1.
        success_before_passing: successful ones until it is passing again; 0 is as good as 1.
        deregister_critical_service_after: how long it is critical until it is deregistered, 1m at
            least; by default it never is.

    Source: Consul, Health check configuration reference, section Check block.

    Raises:
        TypeError: an argument of another type, or a duration without a unit.
        ValueError: a number below zero, or a duration that Consul would not take.
    """

    tool: ClassVar[str] = "Consul 1.16"
    failover: ClassVar[str] = "critical"
    formula: ClassVar[str] = (
        "critical: 0 … interval, then n x c + (n - 1) x interval, with n failures_before_critical, "
        "for the interval runs from the end of a check. A failing check takes c: nothing if "
        "refused, else timeout. passing again: 0 … interval, then (m - 1) x interval, with m "
        "success_before_passing." + _DEREGISTERED
    )
    source: ClassVar[str] = (
        "Consul 1.16, Health check configuration reference, section Check block; agent/checks/"
        f"check.go (CheckHTTP, StatusHandler; of 1.17) and {_SOURCE_OF_IT}"
    )

    interval: timedelta = timedelta(seconds=10)
    timeout: timedelta = timedelta(seconds=10)
    failures_before_critical: int = 0
    success_before_passing: int = 0
    deregister_critical_service_after: timedelta | None = None

    if TYPE_CHECKING:

        def __init__(
            self,
            interval: str | timedelta = "10s",
            timeout: str | timedelta = "10s",
            failures_before_critical: int = 0,
            success_before_passing: int = 0,
            deregister_critical_service_after: str | timedelta | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        self._parse_durations("interval", "timeout", "deregister_critical_service_after")
        for name in ("failures_before_critical", "success_before_passing"):
            if getattr(self, name) != 0 or type(getattr(self, name)) is not int:
                settings.threshold(name, getattr(self, name))
        _check_least("interval", self.interval, _LEAST_INTERVAL)
        _check_deregistration(self.deregister_critical_service_after)

    @property
    def polling(self) -> Polling:
        """How it polls."""
        fall, rise = max(1, self.failures_before_critical), max(1, self.success_before_passing)
        return Polling(self.interval, self.interval, self.interval, fall, rise)

    @property
    def check_timeout(self) -> timedelta:
        """How long a check of a process that hangs takes; what an endpoint's timeout should be."""
        return self.timeout

    def check_takes(self, fault: Fault) -> timedelta:
        """How long a check takes to fail."""
        return NOW if fault == "refused" else self.timeout

    def _milestones(self, fault: Fault) -> dict[str, Span]:
        critical = self._goes_down(fault)
        after = self.deregister_critical_service_after
        return {
            "critical": critical,
            "passing again": self._comes_back(),
        } | _deregistered(critical, after)


@dataclass(frozen=True)
class ConsulTTLPreset(Preset):
    """A check of type TTL: a service says itself that it is well, and is critical when it stops to.

    Attributes:
        ttl: how long it is well after it has said so; Consul has no default.
        heartbeat: how often the service says so; a setting of the service, not of Consul's, and
            below the ttl.
        deregister_critical_service_after: how long it is critical until it is deregistered, 1m at
            least; by default it never is.

    Source: Consul, Health check configuration reference, section Check block.

    Raises:
        TypeError: an argument of another type, or a duration without a unit.
        ValueError: no duration above zero, or durations that do not fit each other.
    """

    tool: ClassVar[str] = "Consul 1.16 (TTL)"
    failover: ClassVar[str] = "critical"
    formula: ClassVar[str] = (
        "critical: ttl - heartbeat … ttl, however it fails, for nobody says any more that it is "
        "well. passing again: 0 … heartbeat." + _DEREGISTERED
    )
    source: ClassVar[str] = (
        "Consul 1.16, Health check configuration reference, section Check block; agent/checks/"
        f"check.go (CheckTTL; of 1.17) and {_SOURCE_OF_IT}"
    )
    differs: ClassVar[str] = "waits for a service to speak up"

    ttl: timedelta = timedelta(seconds=30)
    heartbeat: timedelta = timedelta(seconds=10)
    deregister_critical_service_after: timedelta | None = None

    if TYPE_CHECKING:

        def __init__(
            self,
            ttl: str | timedelta = "30s",
            heartbeat: str | timedelta = "10s",
            deregister_critical_service_after: str | timedelta | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        self._parse_durations("ttl", "heartbeat", "deregister_critical_service_after")
        if self.heartbeat >= self.ttl:
            raise ValueError(
                f"heartbeat of {format_duration(self.heartbeat)} is not below the ttl of "
                f"{format_duration(self.ttl)}, so that a service would be critical while it is well"
            )
        _check_deregistration(self.deregister_critical_service_after)

    def _milestones(self, fault: Fault) -> dict[str, Span]:
        del fault  # none of them lets it speak
        critical = Span(self.ttl - self.heartbeat, self.ttl)
        after = self.deregister_critical_service_after
        return {
            "critical": critical,
            "passing again": Span(NOW, self.heartbeat),
        } | _deregistered(critical, after)


def _check_least(name: str, value: timedelta, least: timedelta) -> None:
    if value < least:
        raise ValueError(
            f"{name} must be at least {format_duration(least)}, not {format_duration(value)}: "
            "Consul would raise it"
        )


def _check_deregistration(after: timedelta | None) -> None:
    if after is not None:
        _check_least("deregister_critical_service_after", after, _LEAST_DEREGISTRATION)


def _deregistered(critical: Span, after: timedelta | None) -> dict[str, Span]:
    if after is None:
        return {}
    longest = critical.longest + after + REAP_INTERVAL
    return {"deregistered": Span(critical.shortest + after, longest)}
