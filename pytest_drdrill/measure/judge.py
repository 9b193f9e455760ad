"""The verdict: what was measured against what was promised."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from pytest_drdrill.durations import format_duration, format_seconds
from pytest_drdrill.measure.verdicts import (
    DisasterNotObserved,
    DrillFailure,
    NotRecovered,
    ObjectiveNotMeasured,
    RPOExceeded,
    RTOExceeded,
)
from pytest_drdrill.text import named

if TYPE_CHECKING:
    from pytest_drdrill.measure.outage import Outage
    from pytest_drdrill.measure.rpo import RPOTimer
    from pytest_drdrill.measure.rto import RTOTimer
    from pytest_drdrill.objectives import Objectives

_MILLISECOND = timedelta(milliseconds=1)


def judge(rto: RTOTimer, rpo: RPOTimer, objectives: Objectives) -> list[DrillFailure]:
    """Every way in which this drill broke, or did not show, its promise; empty when it held."""
    breaches: list[DrillFailure] = []
    for outage in rto.outages:
        breaches += _judge_outage(outage, rto, objectives)
    own = [o for o in rto.outages if o.target is None]
    if objectives.rto is not None and rto.reason_not_applicable is None and not own:
        others = " (an outage with an rto of its own does not)" if rto.outages else ""
        breaches.append(
            ObjectiveNotMeasured(
                f"an RTO of {format_duration(objectives.rto)} is promised and nothing measured it"
                f"{others}: open rto_timer.outage(), or say rto_timer.not_applicable(reason)",
                target=objectives.rto,
            )
        )
    if breach := _judge_rpo(rpo, objectives):
        breaches.append(breach)
    if not breaches and _all_waived(rto, rpo, objectives):
        breaches.append(
            ObjectiveNotMeasured(
                "every objective promised is said not to apply, so this drill shows nothing: "
                "measure one, or promise none"
            )
        )
    return breaches


def seen_broken(rto: RTOTimer, rpo: RPOTimer, objectives: Objectives) -> list[DrillFailure]:
    """The promises that were measured and not kept, whatever the drill would have done next.

    Not what it has not come to: an outage that is still open, writes that are yet to be read back.
    """
    return [
        breach
        for breach in judge(rto, rpo, objectives)
        if isinstance(breach, RTOExceeded)
        or (isinstance(breach, RPOExceeded) and not rpo.ledger.unread())
    ]


def _all_waived(rto: RTOTimer, rpo: RPOTimer, objectives: Objectives) -> bool:
    """Whether there were promises and not one of them was measured, each for a reason."""
    if (objectives.rto is None and objectives.rpo is None) or rto.outages or rpo.entered:
        return False
    return (objectives.rto is None or rto.reason_not_applicable is not None) and (
        objectives.rpo is None or rpo.reason_not_applicable is not None
    )


def assumed_time(rto: RTOTimer) -> timedelta:
    """The time that people would need, as the drill assumed it."""
    return sum((span for _, span in rto.assumed), timedelta())


def outage_target(outage: Outage, objectives: Objectives) -> timedelta | None:
    """The objective an outage is held to: its own, else the drill's."""
    return objectives.rto if outage.target is None else outage.target


def fault_missed(outage: Outage) -> bool:
    """Whether a watched check had to fail after the disaster and never did."""
    return outage.down_seen is False and outage.expect_downtime


def hold_missing(outage: Outage, objectives: Objectives) -> bool:
    """Whether a recovery has to hold and nothing watched that it did."""
    if objectives.hold is None or outage.recovered_at is None:
        return False
    return outage.held is None or outage.held < objectives.hold.total_seconds()


def blind(outage: Outage, objectives: Objectives) -> bool:
    """Whether an outage longer than its objective could have hidden between two looks.

    Where the service was seen down, its recovery is taken for the later look; where it never was,
    the looks have to be close enough to say so.
    """
    target = outage_target(outage, objectives)
    if outage.down_seen is not False or outage.expect_downtime or outage.resolution is None:
        return False
    return target is not None and outage.resolution > target.total_seconds()


def _judge_outage(outage: Outage, rto: RTOTimer, objectives: Objectives) -> list[DrillFailure]:
    name = f"outage {outage.name!r}: " if outage.name else ""
    target = outage_target(outage, objectives)
    breaches: list[DrillFailure] = []
    if fault_missed(outage):
        breaches.append(
            DisasterNotObserved(
                f"{name}the watched check never failed after the disaster, so the fault missed or "
                "was over before the first look; start until() right after the fault, or open the "
                "outage with expect_downtime=False"
            )
        )
    if outage.actual is None:
        if not outage.watches:
            how = "still open when the drill ended"
        elif outage.down_seen is None:
            how = (
                "until() was never awaited, or ended before its first check did; write `await "
                "rto_timer.until(...)`, or rto_timer.wait_until(...) in a drill that is not async"
            )
        elif outage.watching:
            how = "a watch was begun and not awaited to its end, or a canary was not verified"
        else:
            how = "no watched check held"
        breaches.append(NotRecovered(f"{name}{how}: never recovered", target=target))
        return breaches
    assumed = assumed_time(rto)
    actual = outage.actual + assumed
    if target is not None and actual > target:
        late = format_seconds((actual - target).total_seconds())
        parts = ""
        if assumed:
            parts = f" ({_shown(outage.actual)} measured, {format_duration(assumed)} assumed)"
        breaches.append(
            RTOExceeded(
                f"{name}RTO of {format_duration(target)} exceeded: recovered after "
                f"{_shown(actual, target)}{parts}, {late} too late",
                target=target,
                actual=actual,
            )
        )
    breaches += _doubts(outage, objectives, name)
    return breaches


def _doubts(outage: Outage, objectives: Objectives, name: str) -> list[DrillFailure]:
    """Why what was measured of an outage does not show that its objective was met."""
    target = outage_target(outage, objectives)
    breaches: list[DrillFailure] = []
    if outage.real_work and target is not None:
        breaches.append(
            ObjectiveNotMeasured(
                f"{name}{outage.real_work!r} is real work, which takes no virtual time, so nothing "
                f"measured the RTO of {format_duration(target)}: make it a local or live drill",
                target=target,
            )
        )
    if blind(outage, objectives):
        assert target is not None
        assert outage.resolution is not None
        breaches.append(
            ObjectiveNotMeasured(
                f"{name}nobody looked for {format_seconds(outage.resolution)}, in which an outage "
                f"longer than the RTO of {format_duration(target)} could have come and gone: look "
                "right after the fault, and more often",
                target=target,
            )
        )
    if outage.target is None and target is not None and hold_missing(outage, objectives):
        assert objectives.hold is not None
        breaches.append(
            ObjectiveNotMeasured(
                f"{name}the recovery has to hold for {format_duration(objectives.hold)}, which "
                "only repeated checks can show: use rto_timer.until() or wait_until()",
                target=target,
            )
        )
    return breaches


def _judge_rpo(rpo: RPOTimer, objectives: Objectives) -> DrillFailure | None:
    target = objectives.rpo
    if target is None:
        return None
    loss = rpo.measured()
    if loss is None:
        if rpo.reason_not_applicable is not None and not rpo.entered:
            return None
        return ObjectiveNotMeasured(
            f"an RPO of {format_duration(target)} is promised and nothing measured it: "
            f"{rpo.unknown()}; or say rpo_timer.not_applicable(reason)",
            target=target,
        )
    lost = rpo.lost
    if loss.actual is None:
        survived = f"none of {len(lost)} acknowledged writes survived, so the loss has no bound"
        return RPOExceeded(
            f"RPO of {format_duration(target)} exceeded: {loss.why or survived + _unread(rpo)}",
            target=target,
        )
    if loss.actual <= target and not (lost and not target):
        return None if target else _judge_weaknesses(rpo, target)
    counted = f", {len(lost)} acknowledged writes lost" if lost else ""
    holes = f", {len(rpo.holes)} of them holes before later survivors" if rpo.holes else ""
    cost = f"{_shown(loss.actual, target)} of work lost"
    if loss.why:
        cost = f"up to {cost} at the worst instant"
    why = f": {loss.why}" if loss.why else ""
    return RPOExceeded(
        f"RPO of {format_duration(target)} exceeded: {cost}{counted}{holes} "
        f"(basis: {loss.basis}){why}{_unread(rpo) if lost else ''}",
        target=target,
        actual=loss.actual,
    )


def _unread(rpo: RPOTimer) -> str:
    """Which of the lost writes nobody looked for, as the end of a sentence."""
    keys = rpo.ledger.unread()
    if not keys:
        return ""
    return (
        f"; {len(keys)} of them were acknowledged after the survivors were last read back "
        f"({named(keys)}): call survived(keys) after the last write"
    )


def _judge_weaknesses(rpo: RPOTimer, target: timedelta) -> DrillFailure | None:
    if not rpo.weaknesses:
        return None
    return RPOExceeded(
        f"RPO of {format_duration(target)} exceeded, although no acknowledged write was lost: "
        f"{rpo.weaknesses[0]}",
        target=target,
    )


def _shown(span: timedelta, target: timedelta | None = None) -> str:
    """To the millisecond from a second on, but never so that a near miss looks like its target."""
    rounded = round(span / _MILLISECOND) * _MILLISECOND
    if span < timedelta(seconds=1) or (target is not None and rounded <= target < span):
        rounded = span
    return format_duration(rounded)
