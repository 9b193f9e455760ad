"""The canary's client of Redis: how each write ends, what it leaves, what it never shows."""

import asyncio
import contextlib
import socket
import traceback

import pytest
from redis_site import needs_redis

from pytest_drdrill import (
    CanaryClient,
    RedisSentinels,
    RedisServer,
    RedisWriteError,
    redis_canary,
)

SECRET = "tr0ub4dor&3"
QUOTED = "tr0ub4dor%263"


@pytest.fixture(scope="module", autouse=True)
def _redis():
    needs_redis()


@pytest.fixture(scope="module")
def shared(_redis):
    with RedisServer("shared") as server:
        yield server


@pytest.fixture
def server(shared):
    """One that all of these tests use, as each has found it."""
    yield shared
    shared.query("CONFIG", "SET", "requirepass", "")
    shared.query("CONFIG", "SET", "min-replicas-to-write", "0")
    shared.query("REPLICAOF", "NO", "ONE")
    shared.query("FLUSHALL")


@contextlib.asynccontextmanager
async def refused(match, *, leaves_open=False):
    with pytest.raises(RedisWriteError, match=match) as caught:
        yield
    assert caught.value.leaves_open is leaves_open


async def until(check):
    async with asyncio.timeout(30):
        while not check():  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.002)


def test_what_is_written_is_read_back_and_is_in_nobodys_way(server):
    server.query("SET", "orders", "theirs")

    async def body():
        client = redis_canary(server.url, expires="90s")
        assert isinstance(client, CanaryClient)
        assert client.targets == (server.address,)
        for first in range(0, 1500, 10):  # ten at a time, each on a connection of its own
            some = range(first, first + 10)
            await asyncio.gather(*(client.write(f"k{n}", f"v{n}") for n in some))
        assert server.info("clients")["connected_clients"] == 11
        assert await client.read("k7") == "v7"
        assert await client.read("k9999") is None
        assert await client.read_all() == {f"k{n}": f"v{n}" for n in range(1500)}
        keys = set(server.query("KEYS", "*"))
        assert keys == {"orders", *(f"{client.prefix}k{n}" for n in range(1500))}
        assert client.prefix.startswith("drdrill:")
        assert client.prefix != redis_canary(server).prefix
        assert 60_000 < server.query("PTTL", client.prefix + "k0") <= 90_000
        server.query("DEL", client.prefix + "k3")
        assert "k3" not in await client.read_all()
        await client.close()
        await client.close()

    asyncio.run(body())
    assert server.query("KEYS", "*") == ["orders"]
    assert server.query("GET", "orders") == "theirs"


def test_keys_stay_on_scratch_and_are_told_of_where_they_can_not_be_removed(server):
    async def body():
        async with redis_canary(server) as client:
            await client.write("k", "v")
        assert server.query("EXISTS", client.prefix + "k")
        told = "keys that begin with drdrill:.* could not be removed, and will expire: .* read only"
        async with refused(told), redis_canary(server.url) as client:
            await client.write("k", "v")
            server.query("REPLICAOF", "127.0.0.1", "1")
        # What else went wrong is what there is to say.
        async with refused("the last one of these"), redis_canary(server.url) as client:
            client._sent["k"] = None
            raise RedisWriteError("the last one of these")

    asyncio.run(body())


def test_a_key_that_is_there_is_refused_and_left_alone(server):
    async def body():
        async with redis_canary(server) as client:
            server.query("SET", client.prefix + "k", "theirs")
            async with refused("has the key 'k' already, and not from here"):
                await client.write("k", "ours")
            await client.write("other", "ours")
            assert server.query("GET", client.prefix + "k") == "theirs"

    asyncio.run(body())


def test_errors_of_the_server_are_refusals(server):
    async def body():
        async with redis_canary(server) as client:
            server.query("CONFIG", "SET", "min-replicas-to-write", "1")
            async with refused(rf"^{server.address} refused: NOREPLICAS"):
                await client.write("k", "v")
            server.query("CONFIG", "SET", "min-replicas-to-write", "0")
            server.query("REPLICAOF", "127.0.0.1", "1")
            async with refused(rf"^{server.address} refused: You can't write against a read only"):
                await client.write("k", "v")
            server.query("REPLICAOF", "NO", "ONE")
            await client.write("k", "v")

    asyncio.run(body())


def test_what_is_not_there_refuses_and_what_is_silent_is_given_up():
    async def body():
        with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, by its kernel
            port = silent.getsockname()[1]
            client = redis_canary(f"redis://127.0.0.1:{port}")
            async with refused(rf"127.0.0.1:{port} can't be reached: no answer in time"), client:
                await client.write("k", "v")
        client = redis_canary(f"redis://127.0.0.1:{port}")
        async with refused(rf"127.0.0.1:{port} can't be reached: Error 111 connecting to"), client:
            await client.write("k", "v")

    asyncio.run(body())


def test_a_write_that_hangs_leaves_no_answer_to_the_next_one(server):
    async def body():
        async with redis_canary(server) as client:
            await client.write("k0", "v0")
            server.pause()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await client.write("k1", "v1")
            server.resume()
            assert await client.read("k0") == "v0"
            await client.write("k2", "v2")
            # It had been sent, and is carried out by who resumes.
            assert await client.read_all() == {"k0": "v0", "k1": "v1", "k2": "v2"}

    asyncio.run(body())


def test_a_write_that_is_not_confirmed_or_whose_answer_is_lost_is_open(server):
    waits = lambda: server.info("clients")["blocked_clients"] == 1  # noqa: E731

    async def body():
        async with redis_canary(server, wait=1, wait_timeout="20ms") as client:
            address = server.address
            async with refused(f"WAIT: 0 of 1 replicas of {address} confirm", leaves_open=True):
                await client.write("k0", "v0")
        async with redis_canary(server, wait=1, wait_timeout="60s") as client:
            for fault, said in (
                (("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"), "Connection closed by"),
                (("REPLICAOF", "127.0.0.1", "1"), "UNBLOCKED"),
            ):
                write = asyncio.create_task(client.write(said, "v"))
                await until(waits)
                server.query(*fault)
                async with refused(f"{address}: the answer was lost: {said}", leaves_open=True):
                    await write
                assert await client.read(said) == "v"

    asyncio.run(body())


def test_sentinels_are_asked_and_what_they_name_is_looked_at(server):
    async def body():
        with RedisSentinels(server, count=1) as sentinels:
            addresses = [f"{host}:{port}" for host, port in sentinels.addresses]
            async with redis_canary(["127.0.0.1:1", *addresses], service="main") as client:
                assert client.targets == ("127.0.0.1:1", *addresses)
                await client.write("k", "v")
                server.query("REPLICAOF", "127.0.0.1", "1")
                async with refused("You can't write against a read only replica"):
                    await client.write("k2", "v")
                async with refused(f"{server.address} is no primary, whatever a Sentinel says"):
                    await client.write("k3", "v")
                server.query("REPLICAOF", "NO", "ONE")
            client = redis_canary(addresses, service="other")
            async with refused("the primary of 'other' can't be found: none is named"), client:
                await client.write("k", "v")
        client = redis_canary(sentinels)
        async with refused("the primary of 'main' can't be found: .* can't be reached"), client:
            await client.write("k", "v")

    asyncio.run(body())


@pytest.mark.parametrize("password", [SECRET, "wrong-" + SECRET])
def test_no_secret_is_shown(server, password):
    async def body():
        async with redis_canary(server) as known:  # which nobody asks for a password any more
            await known._ask("CONFIG", "SET", "requirepass", SECRET)
            try:
                await asked()
            finally:
                await known._ask("CONFIG", "SET", "requirepass", "")

    async def asked():
        for client in (
            redis_canary(f"redis://:{password.replace(SECRET, QUOTED)}@{server.address}/0"),
            redis_canary(server, username="default", password=password),
        ):
            async with client:
                if password == SECRET:
                    await client.write("k", "v")
                    continue
                with pytest.raises(RedisWriteError, match=r"can't be reached: .*pass") as caught:
                    await client.write("k", "v")
            shown = "".join(traceback.format_exception(caught.value))
            assert SECRET not in shown + repr(client) + repr(client._lookup.__dict__)
            assert caught.value.__cause__ is None  # whose frames hold the password
            assert caught.value.__suppress_context__

    asyncio.run(body())


@pytest.mark.parametrize(
    ("target", "settings", "error", "message"),
    [
        (7, {}, TypeError, "; not a int"),
        ([], {}, ValueError, "here is no address"),
        (["s1:26379"], {}, ValueError, "here is no service"),
        ([7], {"service": "main"}, TypeError, "an address is text, not a int"),
        ([f"me:{SECRET}@s1"], {"service": "main"}, ValueError, "a host and a port, no more"),
        (f"http://:{SECRET}@host", {}, ValueError, "none of redis:// or rediss://"),
        (f"redis://:{SECRET}@", {}, ValueError, "none of redis:// or rediss://"),
        (f"redis://:{SECRET}@host?db=1", {}, ValueError, "none of redis:// or rediss://"),
        (f"redis://:{SECRET}@host:port", {}, ValueError, "the port of this URL is no number"),
        (f"redis://:{SECRET}@host/orders", {}, ValueError, "is the number of a database"),
        ("redis://host", {"wait": -1}, ValueError, "wait=.*whole number, 0 or more"),
        ("redis://host", {"wait_timeout": 5}, TypeError, r"wait_timeout=\.\.\.\): 5 has no unit"),
        ("redis://host", {"wait_timeout": "0s"}, ValueError, "a millisecond at least"),
        ("redis://host", {"expires": "soon"}, ValueError, r"expires=\.\.\.\): 'soon'"),
    ],
)
def test_targets_that_are_none_are_refused_without_showing_them(target, settings, error, message):
    with pytest.raises(error, match=message) as caught:
        redis_canary(target, **settings)
    assert SECRET not in str(caught.value)
