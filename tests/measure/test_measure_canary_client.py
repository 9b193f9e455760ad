"""A canary that writes through a client, which it closes."""

from __future__ import annotations

import pytest
from canary_store import run

from pytest_drdrill import Canary, CanaryClient, NotRecovered, PreconditionNotMet


class Client:
    """A client of a store; counts its closings."""

    def __init__(self, store, closing=None):
        self.store, self.closing, self.closed = store, closing, 0

    async def write(self, key, value):
        await self.store.write(key, value)

    def read_all(self):
        assert not self.closed
        return self.store.read_all()

    async def read(self, key):
        return self.store.data.get(key)

    async def close(self):
        self.closed += 1
        if self.closing is not None:
            await self.closing()


async def drilled(drill, client, *, lasts=0.0, **settings):
    async with Canary(drill, client, **settings) as canary:
        with drill.rto.outage():
            await drill.clock.sleep(lasts)
    return canary


def test_a_client_writes_and_is_read_back_and_closed_once():
    async def body(drill, store):
        client = Client(store)
        canary = await drilled(drill, client, lasts=1, read=client.read)
        assert (client.closed, canary.client_loop is None) == (0, False)
        result = await canary.verify()
        await canary.close()
        assert client.closed == 1
        assert canary.client_loop is None
        return result

    _, store, result = run(body, refuses=[(0.5, 0.9)])
    assert result.readers.misread == []
    assert len(store.data) > 10
    assert not result.lost


def test_a_client_of_a_system_that_does_not_work_is_closed_before_the_block():
    async def body(drill, store):
        client = Client(store)
        with pytest.raises(PreconditionNotMet, match="did not acknowledge 3 writes in a row"):
            await drilled(drill, client)
        assert client.closed == 1

    run(body, refuses=[(0, 100)])


def test_a_client_is_closed_when_the_verdict_is_raised():
    async def body(drill, store):
        client = Client(store)
        canary = await drilled(drill, client, lasts=1, patience="1s")
        with pytest.raises(NotRecovered):
            await canary.verify()
        assert client.closed == 1

    run(body, refuses=[(0.2, 100)])


def test_reading_that_failed_is_tried_again_with_the_client_still_open():
    async def body(drill, store):
        client = Client(store)
        canary = await drilled(drill, client)
        right, store.read_all = store.read_all, lambda: 1 / 0
        with pytest.raises(ZeroDivisionError):
            await canary.verify()
        assert client.closed == 0
        store.read_all = right
        assert (await canary.verify()).acknowledged
        assert client.closed == 1

    run(body)


def test_a_client_that_hangs_or_fails_in_closing_ends_nothing_and_is_told():
    async def body(drill, store):
        async def hang():
            await drill.clock.sleep(3600)

        async def fail():
            raise OSError("the server is gone")

        for closing in (hang, fail):
            canary = await drilled(drill, Client(store, closing), timeout="2s")
            before = store.age
            await canary.verify()
            assert store.age - before <= 2
        return [(event["event"], event["detail"]) for event in drill.timeline.events()]

    _, _, events = run(body)
    assert ("canary could not close its client", "no answer within 2s") in events
    assert ("canary 2 could not close its client", "OSError: the server is gone") in events


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        ("client", {"write": print}, "takes a client, or write= and read_all=, not both"),
        ("client", {"read_all": dict}, "takes a client, or write= and read_all=, not both"),
        (print, {}, r"takes a client with write, read_all and close; functions go in by name"),
        (Client, {}, "takes a client with write, read_all and close"),
    ],
)
def test_arguments_are_checked(arguments, settings, message):
    async def body(drill, store):
        client = Client(store) if arguments == "client" else arguments
        with pytest.raises(TypeError, match=message) as raised:
            Canary(drill, client, **settings)
        assert "\n" not in str(raised.value)

    run(body)


def test_the_protocol_asks_for_three_methods():
    assert isinstance(Client(None), CanaryClient)
    assert not isinstance({}, CanaryClient)
