"""Which drills run: the options against each drill's promise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_drdrill.session.promise import read_promise
from pytest_drdrill.session.repeat import count_tests, is_surplus

if TYPE_CHECKING:
    from collections.abc import Collection

    import pytest

    from pytest_drdrill.evidence.types import SelectionRecord
    from pytest_drdrill.session.promise import Promise
    from pytest_drdrill.session.settings import Settings


def choose(
    items: list[pytest.Item], settings: Settings
) -> tuple[list[pytest.Item], list[pytest.Item], dict[pytest.Item, Promise]]:
    """Split items into kept and deselected; the promises of the drills that are kept.

    Without a choosing option everything is kept, ordinary tests included.
    """
    kept: list[pytest.Item] = []
    deselected: list[pytest.Item] = []
    promises: dict[pytest.Item, Promise] = {}
    for item in items:
        promise = read_promise(item, settings.tiers)
        if settings.selective and (promise is None or not wanted(promise, settings)):
            deselected.append(item)
            continue
        if settings.repeat > 1 and is_surplus(item, repeats=is_repeated(promise, settings)):
            deselected.append(item)
            continue
        kept.append(item)
        if promise is not None:
            promises[item] = promise
    return kept, deselected, promises


def is_repeated(promise: Promise | None, settings: Settings) -> bool:
    """Whether such a test runs several times: no live drill, and no ordinary test.

    To see that it goes the same way twice, a simulated drill only.
    """
    if promise is None or promise.live:
        return False
    return promise.simulated or not settings.check_replay


def wanted(promise: Promise, settings: Settings) -> bool:
    """Whether a drill is one of those asked for.

    What a marker that can't be read would have said is unknown: such a drill is kept, so that it
    shows as the error it is. A mistyped tier must not drop a drill in silence.
    """
    problems = promise.problems
    return (
        (
            not settings.only_tiers
            or promise.objectives.tier in settings.only_tiers
            or "dr_tier" in problems
        )
        and (not settings.only_kinds or any(kind in settings.only_kinds for kind in promise.kinds))
        and (
            not settings.only_services
            or promise.service in settings.only_services
            or "dr_service" in problems
        )
    )


def selection_record(settings: Settings, selected: int, deselected: int) -> SelectionRecord:
    """What was asked for and what came of it, in tests: the runs of a repeated one are one."""
    return {
        "tiers": list(settings.only_tiers),
        "kinds": list(settings.only_kinds),
        "services": list(settings.only_services),
        "selected": selected,
        "deselected": deselected,
    }


def left_out(kept: Collection[pytest.Item], deselected: Collection[pytest.Item]) -> int:
    """How many tests do not run at all."""
    if not deselected:
        return 0
    return count_tests([*kept, *deselected]) - count_tests(kept)
