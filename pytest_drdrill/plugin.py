"""The pytest plugin: hooks, each of which asks a room; no logic.

What a suite without drills pays for is kept out of this module's imports.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import pytest

from pytest_drdrill.fixtures import (
    _dr_repeat,
    active_active_cluster,
    active_passive_cluster,
    backup_strategy,
    canary,
    differential_backup,
    dr_objectives,
    drill,
    failover_manager,
    fault_proxy,
    faults,
    full_backup,
    haproxy,
    incremental_backup,
    live_target,
    live_targets,
    postgres_archive,
    postgres_primary,
    postgres_restore,
    postgres_standby,
    redis_primary,
    redis_replica,
    redis_sentinels,
    replication,
    rpo_timer,
    rto_timer,
    scratch_network,
    simulated_backups,
    simulated_endpoints,
    simulated_regions,
    simulated_world,
)
from pytest_drdrill.session.markers import MARKERS, any_drill, needs_a_loop
from pytest_drdrill.session.options import add_options, in_play

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = [
    "_dr_repeat",
    "active_active_cluster",
    "active_passive_cluster",
    "backup_strategy",
    "canary",
    "differential_backup",
    "dr_objectives",
    "drill",
    "failover_manager",
    "fault_proxy",
    "faults",
    "full_backup",
    "haproxy",
    "incremental_backup",
    "live_target",
    "live_targets",
    "postgres_archive",
    "postgres_primary",
    "postgres_restore",
    "postgres_standby",
    "redis_primary",
    "redis_replica",
    "redis_sentinels",
    "replication",
    "rpo_timer",
    "rto_timer",
    "scratch_network",
    "simulated_backups",
    "simulated_endpoints",
    "simulated_regions",
    "simulated_world",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options and ini keys."""
    add_options(parser)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers; check what was asked for; put right what killed runs have left."""
    # Who installs this plugin has not asked for pytest-asyncio, which comes along: its advice to
    # set an option would be noise, and the end of a suite whose warnings are errors.
    unset = 'The configuration option "asyncio_default_fixture_loop_scope" is unset'
    warnings.filterwarnings("ignore", unset, pytest.PytestDeprecationWarning)
    for text in MARKERS.values():
        config.addinivalue_line("markers", text)
    if in_play(config) or config.getoption("dist", "no") != "no":
        from pytest_drdrill.session.start import begin

        begin(config)
    from pytest_drdrill.session.left_behind import look_for_what_is_left

    look_for_what_is_left(config)


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say what was asked for."""
    if not in_play(config):
        return None
    from pytest_drdrill.session.start import header

    return header(config)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_pycollect_makeitem(obj: object) -> Generator[None, Any, Any]:
    """Inside pytest-asyncio's own wrapper: mark async drills for it; take simulated ones."""
    found = yield
    if isinstance(found, list) and needs_a_loop(obj):
        from pytest_drdrill.session.start import choose_loop

        for item in found:
            choose_loop(item)
    return found


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Note files that give no tests: drills in them could not be verified."""
    report = yield
    if not report.passed:
        from pytest_drdrill.session.uncollected import note_uncollected

        note_uncollected(collector, report)
    return report


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Select drills, after every conftest.py has had its say on markers."""
    if in_play(config) or any_drill(items):
        from pytest_drdrill.session.start import select

        select(config, items)


@pytest.hookimpl(optionalhook=True)
def pytest_html_results_table_header(cells: list[str]) -> None:
    """Add the columns Tier, RTO and RPO."""
    from pytest_drdrill.session.page import add_header

    add_header(cells)


@pytest.hookimpl(optionalhook=True)
def pytest_html_results_table_row(report: Any, cells: list[str]) -> None:
    """Fill the columns."""
    from pytest_drdrill.session.page import add_row

    add_row(report, cells)


@pytest.hookimpl(optionalhook=True)
def pytest_html_results_summary(prefix: list[str], session: pytest.Session) -> None:
    """Show the tier table above the results."""
    from pytest_drdrill.session.page import add_summary

    add_summary(prefix, session.config)
