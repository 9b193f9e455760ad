"""What the markers of a live drill say: what it breaks, and when it is ended at the latest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_drdrill.durations import ACCEPTED, parse_duration
from pytest_drdrill.live.target import Declared
from pytest_drdrill.text import NAME_LIMIT, shown, storable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

    import pytest

_TARGET = (
    '@pytest.mark.dr_live_target("db.staging:5432", breaks="kills the primary", '
    'undone_by="systemd restarts it")'
)
NO_TARGET = f"a live drill declares what it breaks; write {_TARGET}"
NO_MAX_OUTAGE = (
    "a live drill says when it is ended at the latest; write "
    '@pytest.mark.dr_live(max_outage="5m"), or dr_max_outage = 5m in the ini file'
)


def read_live(
    item: pytest.Item,
    marks: Mapping[str, pytest.Mark],
    problems: dict[str, str],
    *,
    simulated: bool,
) -> tuple[timedelta | None, tuple[Declared, ...]]:
    """The longest outage and the targets; what can't be read is added to the problems.

    No message holds an address as it was given, which may have a password in it.
    """
    targets: list[Declared] = []
    # The markers of the module first, then as they stand above the function.
    for mark in reversed([*item.iter_markers("dr_live_target")]):
        try:
            targets.append(_target(mark))
        except ValueError as error:
            text = storable(error, NAME_LIMIT)
            problems.setdefault("dr_live_target", f"@pytest.mark.dr_live_target: {text}")
    if "dr_live" not in marks:
        problems.setdefault(
            "dr_live_target",
            "@pytest.mark.dr_live_target: the drill is not marked as one that touches live "
            'systems; write @pytest.mark.dr_live(max_outage="5m") beside it',
        )
        return None, tuple(targets)
    limit = _max_outage(marks["dr_live"], item.config, problems)
    if simulated:
        problems.setdefault(
            "dr_live",
            "@pytest.mark.dr_live(): a drill that asks for a simulated fixture touches nothing "
            "live; write the one or the other",
        )
    elif hasattr(getattr(item, "obj", None), "hypothesis"):
        problems.setdefault(
            "dr_live",
            "@pytest.mark.dr_live(): a live drill runs once, and @given would break the system "
            "with each example; write the one or the other",
        )
    return limit, tuple(targets)


def _target(mark: pytest.Mark) -> Declared:
    extra = mark.kwargs.keys() - {"address", "breaks", "undone_by"}
    given = {"address": mark.args[0]} if mark.args else {}
    if extra or len(mark.args) > 1 or given.keys() & mark.kwargs.keys():
        raise ValueError(f"takes one address, breaks and undone_by; write {_TARGET}")
    arguments: dict[str, Any] = {**given, **mark.kwargs}
    if missing := [n for n in ("address", "breaks", "undone_by") if n not in arguments]:
        raise ValueError(f"lacks {', '.join(missing)}; write {_TARGET}")
    try:
        return Declared(**arguments)
    except ValueError as error:
        text = str(error)
        raise ValueError(text if "; write" in text else f"{text}; write {_TARGET}") from None


def _max_outage(
    mark: pytest.Mark, config: pytest.Config, problems: dict[str, str]
) -> timedelta | None:
    """The marker's own, else the ini file's, else None."""
    if mark.args or mark.kwargs.keys() - {"max_outage"}:
        arguments = [shown(value) for value in mark.args]
        arguments += [f"{key}={shown(value)}" for key, value in mark.kwargs.items()]
        called = f"@pytest.mark.dr_live({storable(', '.join(arguments), NAME_LIMIT)})"
        problems.setdefault(
            "dr_live", f'{called}: takes no argument but max_outage; write max_outage="5m"'
        )
        return None
    value, source = mark.kwargs.get("max_outage"), "@pytest.mark.dr_live: max_outage"
    if value is None:
        value, source = config.getini("dr_max_outage") or None, "dr_max_outage"
    if value is None:
        return None
    try:
        limit = parse_duration(value)
    except (TypeError, ValueError) as error:
        problem = storable(str(error).partition(";")[0], NAME_LIMIT)
        problems.setdefault("dr_live", f"{source}: {problem}; write {ACCEPTED}")
        return None
    if not limit:
        problems.setdefault("dr_live", f"{source}: no drill ends in no time; write {ACCEPTED}")
        return None
    return limit
