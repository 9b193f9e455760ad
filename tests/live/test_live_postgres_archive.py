"""Point-in-time recovery of a real PostgreSQL, to before a mistake."""

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pytest_drdrill import PostgresArchive, PostgresError, PostgresNode

pytestmark = pytest.mark.usefixtures("postgres_state")


@pytest.fixture
def server(postgres_binaries):
    with PostgresNode("primary", binaries=postgres_binaries) as server:
        server.start()
        server.query("create table orders (id int primary key)")
        yield server


@pytest.fixture
def archive(server):
    with PostgresArchive(server) as archive:
        yield archive


def orders(node):
    return [row[0] for row in node.query("select id from orders order by id")]


def test_before_a_mistake_is_present_what_was_there_and_absent_what_came_after(server, archive):
    archive.base_backup()
    server.query("insert into orders select generate_series(1, 9)")
    committed = server.query("select clock_timestamp()")[0][0]
    mistake = server.mistake("delete from orders where id > 3")
    server.query("select pg_create_restore_point('after it')")
    server.query("insert into orders values (100)")
    for target, expected in (
        (mistake.xid, [*range(1, 10)]),
        (mistake.before, [*range(1, 10)]),
        ("after it", [1, 2, 3]),
        (None, [1, 2, 3, 100]),
    ):
        with archive.restore_to(target) as restored:
            assert orders(restored) == expected
            assert restored.is_primary()
            if expected[-1] == 9:
                assert committed - timedelta(seconds=30) < restored.recovery_point <= committed
            else:
                assert restored.recovery_point > mistake.before
            assert restored.query("show archive_mode") == [("off",)]
    assert orders(server) == [1, 2, 3, 100]
    with archive.restore_to(mistake.xid, inclusive=True) as restored:
        assert orders(restored) == [1, 2, 3]


def test_an_archive_that_ends_before_the_target_says_with_what_it_ends(
    server, archive, monkeypatch
):
    archive.base_backup()
    server.query("insert into orders values (1)")
    made, make = [], tempfile.mkdtemp
    monkeypatch.setattr(tempfile, "mkdtemp", lambda **how: made.append(make(**how)) or made[-1])
    with pytest.raises(PostgresError) as caught:
        archive.restore_to(datetime.now(UTC) + timedelta(hours=1))
    text = str(caught.value)
    assert text.startswith("the archive ends before 2")
    assert "the last commit in it is of 2" in text
    assert text.endswith("restore_to() without a target restores all of it")
    assert any("drdrill-restored-" in each for each in made)
    assert not any(Path(each).exists() for each in made)


def test_what_was_never_archived_is_lost_with_the_server(server, archive):
    base = archive.base_backup()
    server.query("insert into orders values (1)")
    archive.flush()
    server.query("insert into orders values (2)")
    server.kill()
    with archive.restore_to() as restored:
        assert orders(restored) == [1]
        assert restored.recovery_point > base.began
    with pytest.raises(PostgresError, match="the archive's first base backup ended at 2"):
        archive.restore_to(base.began)


def test_targets_that_mean_nothing_are_refused_before_anything_is_done(archive):
    for target, match in (
        (datetime(2026, 1, 1), "has no time zone"),  # noqa: DTZ001
        (True, "says nothing"),
        (1.5, "takes a moment, the id of a transaction, the name"),
        (" ", "takes a moment"),
    ):
        with pytest.raises(TypeError, match=match):
            archive.restore_to(target)
    with pytest.raises(PostgresError, match="has no base backup to begin with"):
        archive.restore_to()
