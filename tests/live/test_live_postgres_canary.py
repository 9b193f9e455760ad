"""The canary's client of PostgreSQL: what was confirmed, refused, or neither; and its secrets."""

import asyncio
import time

import psycopg
import pytest

from pytest_drdrill import CanaryClient, FaultProxy, PostgresNode, postgres_canary
from pytest_drdrill.live.postgres import PostgresWriteFailed

pytestmark = pytest.mark.usefixtures("postgres_state")
SECRET = "hunter2-and-more"


@pytest.fixture
def primary(postgres_binaries):
    with PostgresNode("primary", binaries=postgres_binaries) as primary:
        yield primary.start()


def with_client(client, body):
    async def main():
        try:
            return await asyncio.wait_for(body(client), 60)
        finally:
            await client.close()

    return asyncio.run(main())


async def until(server, sql, *values):
    while not await asyncio.to_thread(server.query, sql, *values):  # noqa: ASYNC110 - as it tells
        await asyncio.sleep(0.01)


async def failure_of(write):
    try:
        await write
    except PostgresWriteFailed as error:
        return error
    raise AssertionError("it was acknowledged")


def test_a_row_a_write_is_read_back_with_one_connection(primary):
    async def body(client):
        assert isinstance(client, CanaryClient)
        for number in range(5):
            await client.write(f"k{number}", f"v{number}")
        assert await client.read("k3") == "v3"
        assert await client.read("no") is None
        assert len(await client.read_all()) == 5
        assert len(client._idle) == 1
        again = await failure_of(client.write("k1", "other"))
        assert not again.leaves_open
        assert "(23505)" in str(again)
        assert client.targets == [f"127.0.0.1:{primary.port}"]

    with_client(postgres_canary(primary, table="public.other"), body)
    assert primary.query("select count(*) from public.other") == [(5,)]


def test_many_writes_at_once_take_a_connection_each(primary):
    async def body(client):
        await client.write("first", "v")
        await asyncio.gather(*(client.write(f"k{number}", "v") for number in range(8)))
        assert len(await client.read_all()) == 9
        assert len(client._idle) == 8

    with_client(postgres_canary(primary), body)


def test_a_commit_whose_answer_was_lost_is_open_and_a_refused_one_is_not(primary):
    with FaultProxy("127.0.0.1", primary.port) as link:
        dsn = primary.dsn.replace(f"port={primary.port}", f"port={link.port}")

        async def body(client):
            await client.write("k0", "v")
            hole = link.blackhole(direction="to_client")
            lost = asyncio.ensure_future(client.write("k1", "v"))
            await until(primary, _HAS, "k1")
            link.reset()
            assert (await failure_of(lost)).leaves_open
            hole.undo()
            await client.write("k2", "v")
            with link.refuse():
                link.reset()
                failed = await failure_of(client.write("k3", "v"))
                if failed.leaves_open:  # the connection was seen to be broken only then
                    failed = await failure_of(client.write("k3", "v"))
                assert not failed.leaves_open
            assert set(await client.read_all()) == {"k0", "k1", "k2"}

        with_client(postgres_canary(dsn), body)


_HAS = "select 1 from drdrill_canary where key = %s"


def test_a_commit_that_gave_up_its_standby_is_open(primary):
    async def body(client):
        await client.write("k0", "v")
        primary.set(synchronous_standby_names="nobody")
        waiting = asyncio.ensure_future(client.write("k1", "v"))
        sql = "select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'"
        await until(primary, sql)
        error = await failure_of(waiting)
        assert error.leaves_open
        assert "the wait for the synchronous standby was given up" in str(error)
        primary.set(synchronous_standby_names="")
        await client.write("k2", "v")
        assert set(await client.read_all()) == {"k0", "k1", "k2"}

    with_client(postgres_canary(primary), body)


def test_a_frozen_server_holds_up_neither_a_cancelled_write_nor_the_other_server(primary):
    with primary.add_standby() as standby:

        async def body(client):
            await client.write("k0", "v")
            primary.pause()
            began = time.monotonic()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.write("k1", "v"), 0.2)
            await asyncio.to_thread(standby.promote)
            await client.write("k2", "v")
            assert time.monotonic() - began < 8  # asked one after the other, it would be 10
            assert "k2" in await client.read_all()

        with_client(postgres_canary(primary, standby), body)


def test_a_standby_alone_takes_no_writes(primary):
    with primary.add_standby() as standby:
        error = with_client(postgres_canary(standby), lambda c: failure_of(c.write("k", "v")))
        assert not error.leaves_open
        assert "session is read-only" in str(error)


def test_connection_strings_name_several_hosts_and_are_never_shown(primary):
    client = postgres_canary(f"postgresql://me:{SECRET}@a.invalid:1,b.invalid:2/orders")
    assert client.targets == ["a.invalid:1", "b.invalid:2"]
    assert SECRET not in repr(client) + repr(client._targets)
    port = f"host=127.0.0.1 port={primary.port} dbname=postgres user=postgres password={SECRET}"
    error = with_client(postgres_canary(port), lambda c: failure_of(c.write("k", "v")))
    assert "password authentication failed" in str(error)
    assert SECRET not in str(error)
    assert error.__suppress_context__ or error.__context__ is None
    for wrong in (f"password={SECRET} oops", f"postgresql://u:{SECRET}@[::1/x"):
        with pytest.raises(ValueError, match="can't be read") as caught:
            postgres_canary(wrong)
        assert SECRET not in str(caught.getrepr(style="long", showlocals=False, chain=True))
    with pytest.raises(ValueError, match="another number of ports"):
        postgres_canary("host=a,b,c port=1,2")
    with pytest.raises(ValueError, match="takes servers of the drill"):
        postgres_canary()
    with pytest.raises(TypeError, match="not 5"):
        postgres_canary(5)
    assert psycopg.__version__
