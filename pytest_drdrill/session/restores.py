"""Restores of dumps, wired to the drill that asks for them: its timeline, its evidence, its end."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from pytest_drdrill.durations import format_duration
from pytest_drdrill.live.dumps import RestoredDump, RestoreFinding, restore_dump
from pytest_drdrill.session.postgres_parts import folder_of
from pytest_drdrill.session.runner import RUN
from pytest_drdrill.session.virtual import active_world

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator

    import pytest

    from pytest_drdrill.session.run import DrillRun


@contextmanager
def restores_of(request: pytest.FixtureRequest) -> Iterator[Callable[..., RestoredDump]]:
    """Makes restores; what each of them found is in the drill's evidence, ignored or not."""
    run: DrillRun | None = request.node.stash.get(RUN, None)
    with ExitStack() as servers:

        def restore(dump: str | os.PathLike[str], **options: Any) -> RestoredDump:
            __tracebackhide__ = True
            options.setdefault("binaries", folder_of(request.config))
            if run is None:
                return servers.enter_context(restore_dump(dump, **options))
            drill, own = run.drill, options.pop("tell", None)

            def found(finding: RestoreFinding) -> None:
                drill.finding(f"{finding.severity}: {finding}")
                if own is not None:
                    own(finding)

            drill.event("restore begins", dump)
            if active_world() is not None:
                drill.rto.did_real_work("restore begins")
            restored = servers.enter_context(restore_dump(dump, tell=found, **options))
            drill.event("restored", _told(restored))
            drill.metric("restore of the dump", restored.duration.total_seconds(), "s")
            return restored

        yield restore


def _told(restored: RestoredDump) -> str:
    told = (
        f"{restored.dump}, a {restored.format} dump, in {format_duration(restored.duration)}, "
        f"by PostgreSQL {restored.server_version}"
    )
    if restored.basis is not None:
        told += f"; its data are from {restored.recovery_point.isoformat()} ({restored.basis})"
    return told
