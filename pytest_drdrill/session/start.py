"""Puts the session together: what is registered when, and where it finds the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_drdrill.session.collector import Collector
from pytest_drdrill.session.markers import is_async, is_drill
from pytest_drdrill.session.repeat import Repeater, count_tests
from pytest_drdrill.session.runner import RUN, Runner
from pytest_drdrill.session.selection import choose, left_out, selection_record
from pytest_drdrill.session.settings import read_settings
from pytest_drdrill.session.terminated import end_cleanly_on_signals
from pytest_drdrill.session.virtual import asks_for_simulation, choose_time, run_in_virtual_time

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_drdrill.session.live_guard import LiveGuard
    from pytest_drdrill.session.run import DrillRun
    from pytest_drdrill.session.settings import Settings

SETTINGS: pytest.StashKey[Settings] = pytest.StashKey()
COLLECTOR: pytest.StashKey[Collector] = pytest.StashKey()
_RUNNER = "drdrill-runner"
_GUARD = "drdrill-guard"
_DRY_RUN = "drdrill-dry-run"


def settings_of(config: pytest.Config) -> Settings:
    """The session's settings, read on first use.

    Raises:
        pytest.UsageError: an option or ini key that can't be read.
    """
    settings = config.stash.get(SETTINGS, None)
    if settings is None:
        settings = config.stash[SETTINGS] = read_settings(config)
    return settings


def begin(config: pytest.Config) -> None:
    """Check what was asked for before anything runs; only where anything of ours was asked for.

    Raises:
        pytest.UsageError: an option or ini key that can't be read, or a report that can't be
            written where it was asked for.
    """
    settings = settings_of(config)
    if settings.repeat > 1:
        repeater = Repeater(settings.repeat, simulated_only=settings.check_replay)
        config.pluginmanager.register(repeater, "drdrill-repeater")
    _prepare_live(config, settings)
    if not runs_tests(config):
        return
    if settings.trace is not None:
        _keep_traces(config, settings.trace)
    if hasattr(config, "workerinput"):
        return
    if settings.reports:
        from pytest_drdrill.report.files import ReportError, check_target  # rare

        for path in settings.reports:
            try:
                check_target(path)
            except ReportError as error:
                source = "dr_report" if config.option.dr_report is None else "--dr-report"
                raise pytest.UsageError(f"{source}: {error}") from None
    collector_of(config)


def _prepare_live(config: pytest.Config, settings: Settings) -> None:
    """Check what live drills need, before any of them; get ready to list them."""
    nodeids = config.option.dr_acknowledge
    if not (settings.live or settings.dry_run or nodeids):
        return
    from pytest_drdrill.session.safety import acknowledge, safety_of  # only for live drills

    safety = safety_of(config)
    if nodeids and not hasattr(config, "workerinput"):
        acknowledge(config, nodeids)
    if settings.dry_run:
        from pytest_drdrill.session.dry_run import DryRun, stay_in_one_process  # rare

        stay_in_one_process(config)
        config.pluginmanager.register(DryRun(safety), _DRY_RUN)


def _keep_traces(config: pytest.Config, folder: Path) -> None:
    from pytest_drdrill.session.traces import TraceKeeper, prepare_folder  # rare

    if not hasattr(config, "workerinput"):
        prepare_folder("dr_trace" if config.option.dr_trace is None else "--dr-trace", folder)
        # Workers, which may be started elsewhere, are given the same one.
        config.option.dr_trace = str(folder)
    config.pluginmanager.register(TraceKeeper(folder), "drdrill-traces")


def runs_tests(config: pytest.Config) -> bool:
    """Whether this session runs tests at all: one that only lists them is no evidence."""
    option = config.option
    only_shows = (
        "collectonly",
        "showfixtures",
        "show_fixtures_per_test",
        "setuponly",
        "setupplan",
        "dr_dry_run",
    )
    return not any(getattr(option, name, False) for name in only_shows)


def collector_of(config: pytest.Config) -> Collector:
    """The session's collector, registered on first use; never in an xdist worker."""
    collector = config.stash.get(COLLECTOR, None)
    if collector is None:
        collector = config.stash[COLLECTOR] = Collector(config, settings_of(config))
        config.pluginmanager.register(collector, "drdrill-collector")
    return collector


def select(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what was not asked for, and get ready to run the drills among the rest."""
    settings = settings_of(config)
    kept, deselected, promises = choose(items, settings)
    if deselected:
        config.hook.pytest_deselected(items=deselected)
        items[:] = kept
    plugins = config.pluginmanager
    if plugins.hasplugin(_RUNNER):  # of a collection before, in the same session
        plugins.unregister(name=_RUNNER)
    if settings.dry_run and (dry_run := plugins.get_plugin(_DRY_RUN)) is not None:
        dry_run.plan(promises)
    # Fixtures are set up with --setup-only too, and ask for their drill.
    if not (runs_tests(config) or getattr(config.option, "setuponly", False)):
        return
    chosen = selection_record(settings, count_tests(promises), left_out(kept, deselected))
    if promises:
        end_cleanly_on_signals(config)
    runner = Runner(config, settings, promises, chosen, _guard(config, settings))
    plugins.register(runner, _RUNNER)
    if not hasattr(config, "workerinput") and runs_tests(config):
        collector_of(config).follow(runner)


def _guard(config: pytest.Config, settings: Settings) -> LiveGuard | None:
    """What guards live drills; None where none may run. It may be asked for twice a session."""
    if not settings.live:
        return None
    guard: LiveGuard | None = config.pluginmanager.get_plugin(_GUARD)
    if guard is None:
        from pytest_drdrill.session.live_guard import LiveGuard  # only for live drills
        from pytest_drdrill.session.safety import safety_of  # likewise

        guard = LiveGuard(config, safety_of(config))
        config.pluginmanager.register(guard, _GUARD)
    return guard


def header(config: pytest.Config) -> str | None:
    """One line for pytest's header, only where something of ours was asked for."""
    settings = config.stash.get(SETTINGS, None)
    if settings is None:
        return None
    asked = {
        "tiers": settings.only_tiers,
        "kinds": settings.only_kinds,
        "services": settings.only_services,
    }
    parts = [f"{name}: {', '.join(values)}" for name, values in asked.items() if values]
    if settings.live:
        parts.append("LIVE systems may be touched")
    if settings.dry_run:
        return "drdrill: " + "; ".join([*parts, "DRY RUN: nothing is run"])
    if config.option.dr_seed is not None:
        parts.append(f"seed: {settings.seed}")
    if settings.check_replay:
        parts.append("each simulated drill twice, with one seed")
    elif settings.repeat > 1:
        once = ", live ones once" if settings.live else ""
        parts.append(f"each drill {settings.repeat} times{once}")
    if settings.trace is not None:
        parts.append(f"traces: {settings.trace}")
    parts += [f"evidence: {path}" for path in settings.reports]
    return f"drdrill: {'; '.join(parts)}" if parts else None


def run_of(request: pytest.FixtureRequest, fixture: str) -> DrillRun:
    """The running drill that asks for a fixture.

    Raises:
        pytest.fail.Exception: the test is no drill, so what it measures would show nowhere.
    """
    run: DrillRun | None = request.node.stash.get(RUN, None)
    if run is None:
        pytest.fail(
            f"{request.node.nodeid} asks for the fixture {fixture!r} but is no drill: mark it with "
            "dr_tier, rto, rpo, dr_service or disaster, so that what it measures is reported",
            pytrace=False,
        )
    return run


def choose_loop(item: pytest.Item) -> None:
    """Have a simulated test run on a virtual loop, and any other async drill by pytest-asyncio."""
    if asks_for_simulation(item):
        run_in_virtual_time(item)
        return
    choose_time(item)  # before anybody asks whether it is asynchronous
    if is_async(item.obj):  # type: ignore[attr-defined] # of every test function
        _run_async_locally(item)


def _run_async_locally(item: pytest.Item) -> None:
    """Have pytest-asyncio run an async drill in strict mode too, without its author's marker."""
    plugins = item.config.pluginmanager
    # Loaded by its entry point, or by -p and the module's name.
    if not (plugins.hasplugin("asyncio") or plugins.hasplugin("pytest_asyncio.plugin")):
        return
    # anyio runs what asks for its backend, in its auto mode too, where it adds the fixture itself.
    taken = "anyio_backend" in getattr(item, "fixturenames", ()) or any(
        item.get_closest_marker(name) for name in ("asyncio", "anyio", "trio")
    )
    if is_drill(item) and not taken:
        item.add_marker("asyncio")
