"""Standbys of a real PostgreSQL: streamed to, promoted, fenced, rejoined."""

import psycopg
import pytest

from pytest_drdrill import FaultProxy, FencingProof, PostgresError, PostgresFailover, PostgresNode
from pytest_drdrill.live.postgres import following

pytestmark = pytest.mark.usefixtures("postgres_state")


@pytest.fixture
def told():
    return []


@pytest.fixture
def primary(postgres_binaries, told):
    tell = lambda *event: told.append(event)  # noqa: E731
    with PostgresNode("primary", binaries=postgres_binaries, tell=tell) as primary:
        primary.start()
        primary.query("create table orders (id int primary key)")
        yield primary


def orders(node):
    return [row[0] for row in node.query("select id from orders order by id")]


def test_a_promoted_standby_has_it_all_and_the_old_primary_is_rewound_to_it(primary, told):
    with primary.add_standby() as standby:
        assert primary.is_primary()
        assert not standby.is_primary()
        assert not primary.has_sync_standby()
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            standby.query("insert into orders values (0)")
        primary.query("insert into orders select generate_series(1, 10)")
        standby.wait_caught_up()
        assert standby.lag() == (0, 0, 0.0)
        fault = primary.pause()
        standby.promote()
        standby.promote()  # one that leads stays so
        assert (
            told[-2][0],
            told[-2][1].removesuffix(" fenced it"),
        ) == ("two primaries", "standby is promoted while primary is paused, and nobody has")
        with pytest.raises(PostgresError, match="superseded by standby: resumed, it takes writes"):
            primary.resume()
        primary.resume(even_superseded=True)
        with pytest.raises(PostgresError, match="superseded by standby: started again, there"):
            primary.restart()
        assert primary.is_running  # it was not even stopped
        primary.query("insert into orders values (666)")
        standby.query("insert into orders values (11)")
        fault.undo()  # of what is superseded: it is not paused any more
        assert primary.is_running
        with pytest.raises(PostgresError, match="primary is no primary, so primary can't rejoin"):
            primary.rejoin(primary)
        rejoined = primary.rejoin(standby, synchronous=True)
        assert rejoined.how == "rewound"
        assert rejoined.parted_at is not None
        assert standby.has_sync_standby()
        primary.wait_caught_up()
        assert orders(primary) == orders(standby) == list(range(1, 12))
        assert told[-1][0] == "rejoined"
        assert f"beyond {rejoined.parted_at} is discarded" in told[-1][1]
        # And back again, whence nothing parts them.
        standby.stop()
        primary.promote()
        with pytest.raises(PostgresError, match="superseded by primary: started again, there"):
            standby.start()
        assert standby.rejoin(primary).how in {"followed", "rewound"}


def test_the_undo_of_a_pause_never_brings_a_superseded_primary_back(primary):
    with primary.add_standby() as standby:
        with primary.pause():
            pass
        assert primary.query("select 1") == [(1,)]
        with primary.pause():
            standby.promote()
        assert not primary.is_running


def test_a_primary_that_can_not_be_rewound_is_cloned(primary):
    with primary.add_standby() as standby:
        primary.kill()
        standby.promote()
        standby.query("insert into orders values (1)")
        for segment in (primary.data / "pg_wal").glob("0*"):
            segment.unlink()
        rejoined = primary.rejoin(standby)
        assert rejoined.how == "cloned"
        assert "pg_rewind" in rejoined.why
        primary.wait_caught_up()
        assert orders(primary) == [1]


def test_commits_wait_for_a_synchronous_standby_and_a_drill_can_tell(primary):
    with (
        FaultProxy("127.0.0.1", primary.port) as link,
        primary.add_standby(synchronous=True, through=link, slot=False) as standby,
    ):
        assert primary.synchronous == ["standby"]
        assert primary.has_sync_standby()
        assert primary.query("select * from pg_replication_slots") == []
        with link.blackhole():
            with pytest.raises(psycopg.errors.QueryCanceled):
                primary.query("set statement_timeout = 200; select pg_sleep(9)")
            with psycopg.connect(primary.dsn, autocommit=True) as client:
                client.execute("set synchronous_commit = local")
                client.execute("insert into orders values (1)")
            assert standby.lag().unreceived > 0
            assert standby.lag().bytes >= standby.lag().unreceived
            assert standby.lag().seconds >= 0
        standby.wait_caught_up()
        assert orders(standby) == [1]
        primary.set(synchronous_commit="local")
        assert not primary.has_sync_standby()
        primary.set(synchronous_commit=True)
        assert primary.has_sync_standby()
        standby.kill()
        following._wait(primary, lambda c: not c.execute(_FOLLOWS).fetchone()[0], 30)
        assert not primary.has_sync_standby()


_FOLLOWS = "select exists (select from pg_stat_replication)"


def test_what_was_not_received_is_lost_with_the_primary(primary):
    with (
        FaultProxy("127.0.0.1", primary.port) as link,
        primary.add_standby(through=link) as standby,
    ):
        primary.query("insert into orders values (1)")
        standby.wait_caught_up()
        link.blackhole()
        primary.query("insert into orders values (2)")
        primary.kill()
        link.reset()
        standby.promote()
        assert orders(standby) == [1]


def test_fencing_is_proven_by_a_dead_process_or_a_refused_write(primary, told):
    with primary.add_standby() as standby:
        standby.promote()
        proof = primary.fence("demote")
        assert proof.kind == "write_refused"
        assert "read-only transaction" in proof.detail
        assert primary.fence("demote") == proof
        primary.pause()
        killed = primary.fence("demote")
        pid = primary.process.pid
        assert killed == FencingProof(
            "process_dead", f"its postmaster, process {pid}, ended with status -9"
        )
        assert primary.fence() == killed
        assert told[-1] == ("fenced", f"primary: {killed.detail}")
    with pytest.raises(ValueError, match="fence_by is 'kill' or 'demote', not 'ask'"):
        PostgresFailover(primary, fence_by="ask")


def test_a_demotion_that_does_not_hold_is_no_proof(primary, monkeypatch):
    monkeypatch.setattr(PostgresNode, "is_primary", lambda self: False)
    with pytest.raises(PostgresError, match="takes writes all the same"):
        primary.fence("demote")


def test_a_standby_of_what_does_not_run_is_refused_and_leaves_nothing(primary):
    primary.kill()
    with pytest.raises(PostgresError, match="primary does not run, so late can't be cloned"):
        primary.add_standby("late")
    with pytest.raises(PostgresError, match="follows nobody"):
        primary.wait_caught_up()
    assert not list(primary.folder.parent.glob("drdrill-late-*"))


def test_a_mistake_changes_something_and_is_on_the_timeline(primary, told):
    primary.query("insert into orders values (1), (2)")
    mistake = primary.mistake("delete from orders where id > %s", 1)
    assert mistake.rows == 1
    assert told[-1][1] == "an operator ran on primary: delete from orders where id > %s, 1 rows"
    with pytest.raises(PostgresError, match="changed nothing"):
        primary.mistake("select 1")
    dropped = primary.drop_table("public.orders")
    assert dropped.xid > mistake.xid
    assert dropped.what == 'drop table "public"."orders"'
    with pytest.raises(psycopg.errors.UndefinedTable):
        primary.drop_table("orders")
