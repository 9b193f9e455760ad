"""What every preset is: settings under the tool's own names, and what follows from them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import fields
from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, TypeAlias

from pytest_drdrill.durations import format_duration
from pytest_drdrill.failover import settings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_drdrill.failover.endpoint import ServiceEndpoint
    from pytest_drdrill.failover.monitor import WatchOptions

Fault: TypeAlias = Literal["refused", "silent", "hung"]

FAULTS: dict[Fault, str] = {
    "refused": "the process that serves is dead, and its host lives",
    "silent": "its host is dead or cut off: nothing there answers",
    "hung": "the process that serves hangs: it takes connections, and answers none",
}
"""The ways to fail, and what each means."""


class Span(NamedTuple):
    """The shortest and the longest time that something takes."""

    shortest: timedelta
    longest: timedelta


class Preset(ABC):
    """The settings of a tool that watches a service, under the names of its configuration file.

    A subclass is a frozen dataclass. Its defaults are the tool's. It predicts when the tool notices
    a disaster and when it has moved traffic, as ``milestones`` in the tool's own words;
    ``what_if`` simulates the same.

    Attributes:
        tool: its name, with the version that the formula was taken from.
        failover: the milestone with which the tool has done its part: traffic goes elsewhere.
        faults: the ways to fail for which it predicts.
        formula: what the predictions are made of, for a reader.
        source: where that is written.
        differs: why the settings can't be a manager's; empty where they can.
    """

    tool: ClassVar[str]
    failover: ClassVar[str]
    faults: ClassVar[tuple[Fault, ...]] = ("refused", "silent", "hung")
    formula: ClassVar[str]
    source: ClassVar[str]
    differs: ClassVar[str] = ""

    def predicted(self, fault: Fault = "refused") -> Span | None:
        """Shortest and longest time from a disaster until traffic goes elsewhere.

        What a promotion itself takes (recovery of a database, caches that are cold) is not in it.

        Args:
            fault: ``"refused"`` (the process is dead, its host lives), ``"silent"`` (the host is
                dead or cut off) or ``"hung"`` (the process takes connections and answers none).

        Returns:
            The bounds; None where the tool never notices.

        Raises:
            ValueError: as of ``milestones``.
        """
        return self.milestones(fault).get(self.failover)

    def milestones(self, fault: Fault = "refused") -> dict[str, Span]:
        """When each thing happens, by its name in the tool's own words.

        Times count from the disaster; those of what ends in ``again`` from the moment at which the
        service is well. Empty where the tool never notices.

        Raises:
            ValueError: no such way to fail, one that is not predicted for this tool, or settings
                that come to more than a timedelta holds.
        """
        self.check_fault(fault)
        try:
            return self._milestones(fault)
        except OverflowError:
            raise ValueError(
                f"these settings of {self.tool} come to more than {timedelta.max.days} days"
            ) from None

    def check_fault(self, fault: Fault) -> None:
        """Make sure that a way to fail is one of those that are predicted.

        Raises:
            ValueError: it is not.
        """
        if fault in self.faults:
            return
        known = ", ".join(repr(each) for each in self.faults)
        if fault in FAULTS:
            raise ValueError(f"{self.tool} is predicted for {known}, and not for {fault!r}")
        raise ValueError(f"an endpoint can fail in the ways {known}, not {fault!r}")

    def options(self, endpoints: Iterable[ServiceEndpoint] | None = None) -> WatchOptions:
        """The settings of a manager or a cluster that checks as the tool does.

        Args:
            endpoints: those that it will watch, whose timeouts must be those of the tool's checks.

        Raises:
            ValueError: the tool does not poll, or a setting has no match; what differs is named.
        """
        del endpoints
        raise ValueError(
            f"{self.tool} {self.differs}, and a manager checks endpoints; what_if simulates what "
            "the tool does"
        )

    @property
    def settings_text(self) -> str:
        """The settings in one line, such as ``inter=2s fall=3``; those that are unset are left out.

        It is what the command line takes.
        """
        found = ((each.name, getattr(self, each.name)) for each in fields(self))  # type: ignore[arg-type] # each is a dataclass
        return " ".join(f"{name}={_written(value)}" for name, value in found if value is not None)

    @abstractmethod
    def _milestones(self, fault: Fault) -> dict[str, Span]: ...

    # For __post_init__.

    def _parse_durations(self, *names: str) -> None:
        """Have timedeltas in place of what was given; None stays.

        Raises:
            TypeError: no text and no timedelta.
            ValueError: no duration above zero.
        """
        for name in names:
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, settings.duration(name, value))


def _written(value: object) -> str:
    return format_duration(value) if isinstance(value, timedelta) else str(value)
