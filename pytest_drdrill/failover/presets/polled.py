"""Tools that poll: they check at an interval that is counted from the end of a check."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from pytest_drdrill.durations import format_duration
from pytest_drdrill.failover.presets.base import Fault, Preset, Span

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_drdrill.failover.endpoint import ServiceEndpoint
    from pytest_drdrill.failover.monitor import WatchOptions

NOW = timedelta(0)


@dataclass(frozen=True, slots=True)
class Polling:
    """How a tool polls.

    Attributes:
        interval: from the end of a check to the start of the next one, while all is well.
        fast: the same, while the status is about to change.
        down: the same, while the server is down.
        fall: failed checks in a row that it takes to go down.
        rise: successful ones that it takes to come back.
    """

    interval: timedelta
    fast: timedelta
    down: timedelta
    fall: int
    rise: int


class PolledPreset(Preset):
    """A tool that polls; a manager of ours can run with its settings."""

    @property
    @abstractmethod
    def polling(self) -> Polling:
        """How it polls."""

    @property
    @abstractmethod
    def check_timeout(self) -> timedelta:
        """How long a check of a process that hangs takes; what an endpoint's timeout should be."""

    @abstractmethod
    def check_takes(self, fault: Fault) -> timedelta:
        """How long a check takes to fail."""

    def options(self, endpoints: Iterable[ServiceEndpoint] | None = None) -> WatchOptions:
        """The settings of a manager or a cluster that checks as the tool does.

        The tool counts its interval from the end of a check, a manager from its start. Where a
        check fails at once that is the same; with checks that take a time c to fail, a manager is
        sooner by ``(fall - 1) x min(c, fast interval)``, and ``predicted`` and ``what_if`` say what
        the tool does. A manager checks an endpoint that is down as often as one that is well.

        Args:
            endpoints: those that it will watch, whose timeouts must be those of the tool's checks.

        Raises:
            ValueError: an endpoint with another timeout, or a timeout or a fast interval above the
                interval.
        """
        polling, takes = self.polling, self.check_timeout
        if takes > polling.interval:
            raise ValueError(
                f"a manager's check takes at most its check_interval of "
                f"{format_duration(polling.interval)}; one of {self.tool} may take "
                f"{format_duration(takes)} here"
            )
        for each in endpoints or ():
            if min(each.timeout, polling.interval) != takes:
                raise ValueError(
                    f"a check of {each.name!r} may take {format_duration(each.timeout)}, one of "
                    f"{self.tool} {format_duration(takes)}; make the endpoint with "
                    "timeout=preset.check_timeout"
                )
        if polling.fast > polling.interval:
            raise ValueError(
                f"a manager's fast_interval is at most its check_interval: "
                f"{format_duration(polling.fast)} is above {format_duration(polling.interval)}"
            )
        return {
            "failure_threshold": polling.fall,
            "recovery_threshold": polling.rise,
            "check_interval": polling.interval,
            "fast_interval": polling.fast,
        }

    def _goes_down(self, fault: Fault) -> Span:
        polling = self.polling
        least = polling.fall * self.check_takes(fault) + (polling.fall - 1) * polling.fast
        return Span(least, least + polling.interval)

    def _comes_back(self) -> Span:
        polling = self.polling
        least = (polling.rise - 1) * polling.fast
        return Span(least, least + polling.down)
