"""PostgreSQL servers wired to the test that asks for them: its timeline, its end."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_drdrill.session.runner import RUN
from pytest_drdrill.session.virtual import active_world

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest

    from pytest_drdrill.live import PostgresArchive, PostgresBinaries, PostgresNode
    from pytest_drdrill.session.run import DrillRun


@contextmanager
def primary_of(request: pytest.FixtureRequest) -> Iterator[PostgresNode]:
    """A primary of the test's own, running; what is done to it is on the drill's timeline."""
    run = _in_real_time(request)
    from pytest_drdrill.live import PostgresNode  # only for who asks for one

    tell = None if run is None else run.drill.event
    with PostgresNode("primary", binaries=binaries_of(request.config), tell=tell) as primary:
        yield primary.start()


@contextmanager
def standbys_of(primary: PostgresNode) -> Iterator[Callable[..., PostgresNode]]:
    """A factory of standbys of a primary, each ended with the test."""
    with ExitStack() as made:

        def make(
            name: str | None = None, *, of: PostgresNode | None = None, **settings: Any
        ) -> PostgresNode:
            count = len(names) + 1
            name = name or ("standby" if count == 1 else f"standby{count}")
            names.append(name)
            standby = (of or primary).add_standby(name, **settings)
            return made.enter_context(standby)

        names: list[str] = []
        yield make


@contextmanager
def archive_of(primary: PostgresNode) -> Iterator[PostgresArchive]:
    """An archive of a primary, with a base backup; removed with the test."""
    from pytest_drdrill.live import PostgresArchive  # only for who asks for one

    with PostgresArchive(primary) as archive:
        archive.base_backup()
        yield archive


def binaries_of(config: pytest.Config) -> PostgresBinaries:
    """The PostgreSQL that the session drills with.

    Raises:
        ComponentMissing: there is none.
    """
    from pytest_drdrill.live import find_postgres  # only for who asks for one

    return find_postgres(folder_of(config))


def folder_of(config: pytest.Config) -> Path | None:
    """Where the ini file says that PostgreSQL's programs are, or None."""
    given = str(config.getini("dr_postgres_bin")).strip()
    base = config.inipath.parent if config.inipath else Path()
    return base / Path(given).expanduser() if given else None


def _in_real_time(request: pytest.FixtureRequest) -> DrillRun | None:
    """The drill that asks, or None for an ordinary test.

    Raises:
        RealIOError: it runs in virtual time.
    """
    run: DrillRun | None = request.node.stash.get(RUN, None)
    if active_world() is not None or (run is not None and run.world is not None):
        from pytest_drdrill.simulation.refusals import refusal  # loaded by now

        raise refusal("a PostgreSQL server")
    return run
