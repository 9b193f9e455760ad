"""What was promised: recovery metrics, service tiers, and the objectives of one drill."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar

from pytest_drdrill.durations import format_duration, parse_duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_PERCENT = 100
_TIER_NAME = r"[A-Za-z][A-Za-z0-9_-]*"
TIER_FORM = "gold: rto=5m, rpo=30s, mttr=30m, mtbf=30d, availability=99.99%"
"""How an own tier is written in the ini key ``dr_tiers``; all after ``rpo`` may be left out."""


def _percentage(value: str | float | None) -> float | None:
    if value is None:
        return None
    if isinstance(value, str):
        try:
            number = float(value.strip().removesuffix("%"))
        except ValueError:
            number = float("nan")
    elif isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"availability_target: {value!r} is no percentage such as 99.99")
    else:
        number = float(value)
    if not 1 < number <= _PERCENT:
        raise ValueError(
            f"availability_target: {value!r} is no percentage above 1 and up to 100, such as 99.99"
        )
    return number


def _measured(value: str | timedelta) -> timedelta:
    """A measured time: unlike a promise it may have no bound, which is ``timedelta.max``."""
    if isinstance(value, timedelta) and value == timedelta.max:
        return value
    return parse_duration(value)


@dataclass(frozen=True, slots=True)
class RecoveryMetrics:
    """The recovery promise of a service or a tier.

    Every time is given as a ``timedelta`` or a duration such as ``"15m"`` and kept as a
    ``timedelta``. What was never promised is ``None``.

    Attributes:
        rto: recovery time objective, the longest outage that is acceptable, from the disaster to
            the service verified usable (NIST SP 800-34 rev. 1, section 3.2.1).
        rpo: recovery point objective, the longest span of acknowledged work before the disaster
            that may be lost (NIST SP 800-34 rev. 1, section 3.2.1).
        mttr: mean time to repair, the promised average length of an outage.
        mtbf: mean time between failures, the promised average time of service between two outages.
        availability_target: percentage of time in service, such as ``99.99`` or ``"99.99%"``.

    Raises:
        TypeError: a time without a unit, or of another type.
        ValueError: a time that is no duration or is negative, an MTTR or MTBF of zero, or an
            availability that is no percentage above 1 and up to 100 (``0.9999`` is refused rather
            than guessed at).
    """

    rto: timedelta
    rpo: timedelta
    mttr: timedelta | None = None
    mtbf: timedelta | None = None
    availability_target: float | None = None

    if TYPE_CHECKING:
        # What a caller may pass; the fields above say what is kept.
        def __init__(
            self,
            rto: str | timedelta,
            rpo: str | timedelta,
            mttr: str | timedelta | None = None,
            mtbf: str | timedelta | None = None,
            availability_target: str | float | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        for name in ("rto", "rpo", "mttr", "mtbf"):
            value = getattr(self, name)
            if value is None and name in ("mttr", "mtbf"):
                continue
            try:
                parsed = parse_duration(value)
            except (TypeError, ValueError) as error:
                raise type(error)(f"{name}: {error}") from None
            if name in ("mttr", "mtbf") and not parsed:
                raise ValueError(f"{name}: a mean time of zero says nothing; leave it out instead")
            object.__setattr__(self, name, parsed)
        object.__setattr__(self, "availability_target", _percentage(self.availability_target))

    def calculate_downtime_budget(self, period_days: float = 30) -> timedelta:
        """Downtime that the availability target allows in a period: (1 - target) x period.

        Args:
            period_days: length of the period in days, above zero.

        Raises:
            ValueError: no availability was promised, or the period is not above zero.

        Source of the formula: Google, Site Reliability Engineering, appendix A.
        """
        if self.availability_target is None:
            raise ValueError("no availability_target was promised, so there is no downtime budget")
        if not period_days > 0:
            raise ValueError(f"period_days must be above zero, not {period_days!r}")
        return timedelta(days=period_days) * ((_PERCENT - self.availability_target) / _PERCENT)

    def is_rto_met(self, actual: str | timedelta) -> bool:
        """Whether a measured recovery time keeps the promise: actual <= rto."""
        return _measured(actual) <= self.rto

    def is_rpo_met(self, loss: str | timedelta) -> bool:
        """Whether a measured span of lost work keeps the promise: loss <= rpo.

        ``timedelta.max``, the ``data_loss`` of a timer whose loss has no bound, never does.
        """
        return _measured(loss) <= self.rpo

    @property
    def expected_availability(self) -> float | None:
        """Percentage that MTBF and MTTR imply, MTBF / (MTBF + MTTR); None where one is missing.

        Source of the formula: inherent availability, MIL-HDBK-338B, section 5.5.
        """
        if self.mtbf is None or self.mttr is None:
            return None
        return _PERCENT * (self.mtbf / (self.mtbf + self.mttr))

    @property
    def mttr_for_target(self) -> timedelta | None:
        """The MTTR that the availability target takes at this MTBF: MTBF x (1 - A) / A.

        The expected availability solved for MTTR; None where MTBF or the target is not promised.
        """
        if self.mtbf is None or self.availability_target is None:
            return None
        return self.mtbf * ((_PERCENT - self.availability_target) / self.availability_target)


class ServiceTiers:
    """The built-in tiers. ``ServiceTiers.CRITICAL.rto`` is a timedelta of 15 minutes."""

    CRITICAL: ClassVar[RecoveryMetrics] = RecoveryMetrics("15m", "5m", "1h", "30d", 99.99)
    IMPORTANT: ClassVar[RecoveryMetrics] = RecoveryMetrics("1h", "30m", "4h", "15d", 99.9)
    STANDARD: ClassVar[RecoveryMetrics] = RecoveryMetrics("4h", "1h", "8h", "7d", 99.5)

    @classmethod
    def builtin(cls) -> dict[str, RecoveryMetrics]:
        """The built-in tiers by the name that ``dr_tier`` takes, strictest first."""
        return {"critical": cls.CRITICAL, "important": cls.IMPORTANT, "standard": cls.STANDARD}


@dataclass(frozen=True, slots=True)
class Objectives:
    """The effective objectives of one drill: its tier's, narrowed by its own markers.

    Every time is given as a ``timedelta`` or a duration such as ``"15m"`` and kept as a
    ``timedelta``.

    Attributes:
        tier: name of the tier, or None.
        rto: longest acceptable outage, or None when none was promised.
        rpo: longest acceptable span of lost work, or None when none was promised.
        hold: how long the service must stay recovered before the recovery counts, or None.
        metrics: the tier's whole promise, or None without a tier.

    Raises:
        TypeError: a time without a unit, or of another type.
        ValueError: a time that is no duration or is negative.
    """

    tier: str | None = None
    rto: timedelta | None = None
    rpo: timedelta | None = None
    hold: timedelta | None = None
    metrics: RecoveryMetrics | None = None

    if TYPE_CHECKING:
        # What a caller may pass; the fields above say what is kept.
        def __init__(
            self,
            tier: str | None = None,
            rto: str | timedelta | None = None,
            rpo: str | timedelta | None = None,
            hold: str | timedelta | None = None,
            metrics: RecoveryMetrics | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        for name in ("rto", "rpo", "hold"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, parse_duration(value))

    def narrowed(
        self,
        *,
        rto: timedelta | None = None,
        rpo: timedelta | None = None,
        hold: timedelta | None = None,
    ) -> Objectives:
        """These objectives with a drill's own ones in place of the tier's.

        Raises:
            ValueError: an own objective is wider than the tier's, which would weaken its promise.
        """
        for name, own, tiers in (("rto", rto, self.rto), ("rpo", rpo, self.rpo)):
            if own is not None and tiers is not None and own > tiers:
                raise ValueError(
                    f"{name} of {format_duration(own)} is wider than the {format_duration(tiers)} "
                    f"of tier {self.tier!r}; a drill can narrow its tier's objective, not widen it"
                )
        return Objectives(
            tier=self.tier,
            rto=self.rto if rto is None else rto,
            rpo=self.rpo if rpo is None else rpo,
            hold=self.hold if hold is None else hold,
            metrics=self.metrics,
        )


def tier_objectives(name: str, tiers: Mapping[str, RecoveryMetrics]) -> Objectives:
    """The objectives that a tier brings to a drill.

    Raises:
        ValueError: no such tier; the message lists the known ones.
    """
    metrics = tiers.get(name)
    if metrics is None:
        raise ValueError(f"unknown tier {name!r}; known tiers: {', '.join(tiers)}")
    return Objectives(tier=name, rto=metrics.rto, rpo=metrics.rpo, metrics=metrics)


def read_tiers(lines: Iterable[str]) -> dict[str, RecoveryMetrics]:
    """The built-in tiers, then own ones from lines such as ``gold: rto=5m, rpo=30s``.

    A line that names a built-in tier replaces it.

    Raises:
        ValueError: a line that can't be read; the message quotes it and shows the accepted form.
    """
    tiers = ServiceTiers.builtin()
    seen: set[str] = set()
    for line in lines:
        if not line.strip():
            continue
        try:
            name, metrics = _read_tier(line)
            if name in seen:
                raise ValueError(f"tier {name!r} is defined twice")  # noqa: TRY301 - one handler
        except (TypeError, ValueError) as error:
            raise ValueError(f"{line.strip()!r}: {error}; write e.g. {TIER_FORM!r}") from None
        seen.add(name)
        tiers[name] = metrics
    return tiers


def _read_tier(line: str) -> tuple[str, RecoveryMetrics]:
    name, colon, rest = line.strip().partition(":")
    if not colon or not re.fullmatch(_TIER_NAME, name.strip()):
        raise ValueError("a tier begins with its name and a colon")
    known = {"rto": "rto", "rpo": "rpo", "mttr": "mttr", "mtbf": "mtbf"}
    known["availability"] = "availability_target"
    values: dict[str, str] = {}
    for part in rest.split(","):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or key not in known:
            raise ValueError(f"{part.strip()!r} is none of {', '.join(f'{k}=' for k in known)}")
        if known[key] in values:
            raise ValueError(f"{key} is given twice")
        values[known[key]] = value
    for needed in ("rto", "rpo"):
        if needed not in values:
            raise ValueError(f"{needed} is missing")
    return name.strip(), RecoveryMetrics(
        values["rto"],
        values["rpo"],
        values.get("mttr"),
        values.get("mtbf"),
        values.get("availability_target"),
    )
