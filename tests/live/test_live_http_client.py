"""A canary's client over HTTP, against servers that answer, refuse, break off and die."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager, suppress

import pytest

from pytest_drdrill import Canary, Drill, NotRecovered, http_canary
from pytest_drdrill.live.outcomes import MaybeWrittenError, NotReadError, NotWrittenError

SECRET = "hunter2-and-more"
HANG, BREAK_OFF, BREAK_HEAD, BREAK_BODY = "hang", "break off", "break head", "break body"
ECHO = "echo"


class Server:
    """Keeps what is put; does otherwise where it is told so."""

    def __init__(self):
        self.data, self.requests, self.answers, self.connections = {}, [], [], 0
        self.writers, self.port = set(), 0

    async def start(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", self.port)
        self.port = self.server.sockets[0].getsockname()[1]

    async def stop(self):
        """As one that died: nobody listens, and every connection is gone."""
        self.server.close()
        for writer in self.writers:
            writer.transport.abort()
        await self.server.wait_closed()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader, writer):
        self.connections += 1
        self.writers.add(writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                await self.answer(reader, writer)
        self.writers.discard(writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    async def answer(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.rstrip().split("\r\n")
        method, path, _ = first.split(" ")
        headers = dict(line.split(": ", 1) for line in lines)
        length = int(headers.get("Content-Length", 0))
        body = (await reader.readexactly(length)).decode()
        self.requests.append((method, path, headers, body))
        answer = self.answers.pop(0) if self.answers else self.usual(method, path, body)
        if answer == HANG:
            await asyncio.sleep(3600)
        if answer == BREAK_OFF:
            raise ConnectionError
        status, text = answer if isinstance(answer, tuple) else (answer, "")
        if answer == BREAK_HEAD:
            writer.write(b"HTTP/1.1 2")
            raise ConnectionError
        if answer == ECHO:
            writer.write(f"{headers['Authorization']} {path}\r\n\r\n".encode())
            raise ConnectionError
        if answer == BREAK_BODY:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
            raise ConnectionError
        sent = text.encode()
        where = b"Location: /elsewhere\r\n" if 300 <= status < 400 else b""
        head = b"HTTP/1.1 %d Said\r\n%bContent-Length: %d\r\n\r\n" % (status, where, len(sent))
        writer.write(head + sent)
        await writer.drain()

    def usual(self, method, path, body):
        if method == "GET":
            return (200, self.data[path]) if path in self.data else (404, "")
        self.data[path] = body
        return 201


@asynccontextmanager
async def served():
    server = Server()
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def with_server(body):
    async def main():
        async with served() as server:
            await body(server)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:  # a server that hangs
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    asyncio.run(main())


@asynccontextmanager
async def client_of(server, path="/kv/{key}", **settings):
    client = http_canary(f"{server.url}{path}", **settings)
    try:
        yield client
    finally:
        await client.close()


async def until(is_so):
    async with asyncio.timeout(30):
        while not is_so():  # noqa: ASYNC110 - what others do, who set no event
            await asyncio.sleep(0.001)


async def outcome(client, key="canary-1"):
    """How a write ends, in one word, and the message."""
    try:
        await asyncio.wait_for(client.write(key, "a value"), 5)
    except NotWrittenError as error:
        return "refused", str(error)
    except MaybeWrittenError as error:
        return "open", str(error)
    return "acknowledged", ""


# -- writes ---------------------------------------------------------------------------------------


def test_writes_on_one_kept_connection_and_reads_back():
    async def body(server):
        async with client_of(server) as client:
            for number in range(20):
                assert await client.write(f"canary-{number}", f"value {number}") is None
            assert server.connections == 1
            assert {request[0] for request in server.requests} == {"PUT"}
            assert await client.read("canary-7") == "value 7"
            assert await client.read("canary-99") is None
            del server.data["/kv/canary-3"]
            found = await client.read_all()
            assert found == {f"canary-{n}": f"value {n}" for n in range(20) if n != 3}
            assert client.targets == (f"127.0.0.1:{server.port}",)

    with_server(body)


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        *[(status, "acknowledged") for status in (200, 201, 204, 299)],
        *[(status, "refused") for status in (400, 401, 403, 404, 409, 412, 429)],
        *[(status, "open") for status in (202, 301, 302, 303, 307, 500, 501, 502, 503, 504)],
        (BREAK_BODY, "open"),
    ],
)
def test_what_a_status_says(answer, found):
    async def body(server):
        server.answers.append(answer)
        async with client_of(server) as client:
            kind, message = await outcome(client)
        assert kind == found
        if isinstance(answer, int) and kind != "acknowledged":
            assert message == f"HTTP status {answer} of 127.0.0.1:{server.port}"
        assert len(server.requests) == 1  # redirects are not followed

    with_server(body)


def test_statuses_can_be_said_otherwise():
    async def body(server):
        settings = {"acknowledged": (202,), "refused": (503, 409)}
        async with client_of(server, **settings) as client:
            for answer, found in ((202, "acknowledged"), (200, "open"), (503, "refused")):
                server.answers.append(answer)
                assert (await outcome(client))[0] == found
            server.answers.append(404)
            assert (await outcome(client))[0] == "open"

    with_server(body)


@pytest.mark.parametrize("answer", [BREAK_OFF, BREAK_HEAD])
@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_an_answer_that_breaks_off_leaves_it_open(method, answer):
    async def body(server):
        async with client_of(server, method=method) as client:
            server.answers += [answer, answer]
            kind, message = await outcome(client)
        assert kind == "open"
        assert message.startswith(f"no answer of 127.0.0.1:{server.port}: ")

    with_server(body)


def test_a_connection_that_is_refused_refuses_the_write():
    async def body(server):
        async with client_of(server) as client:
            await server.stop()
            assert await outcome(client) == (
                "refused",
                f"can't connect to 127.0.0.1:{server.port}: Connection refused",
            )
            await server.start()
            assert (await outcome(client))[0] == "acknowledged"

    with_server(body)


def test_a_name_that_nobody_knows_refuses_the_write():
    async def main():
        client = http_canary("http://nobody.invalid/{key}")
        kind, message = await outcome(client)
        await client.close()
        assert kind == "refused"
        assert message.startswith("can't connect to nobody.invalid:80: ")

    asyncio.run(main())


def test_a_repeated_write_that_can_not_connect_leaves_the_first_one_open():
    async def body(server):
        async with client_of(server) as client:
            await outcome(client)
            server.answers.append(BREAK_OFF)
            server.server.close()  # the kept connection lives, and nobody takes a new one
            kind, message = await outcome(client, "canary-2")
            assert len(server.requests) == 2  # it was sent, and may have been carried out
            assert kind == "open"
            assert "can't connect" in message

    with_server(body)


def test_a_repeated_write_that_is_refused_leaves_the_first_one_open():
    async def body(server):
        async with client_of(server) as client:
            await outcome(client)
            server.answers += [BREAK_OFF, 409]  # the first one was carried out
            assert (await outcome(client, "canary-2"))[0] == "open"
            assert len(server.requests) == 3
            server.answers.append(409)
            assert (await outcome(client, "canary-3"))[0] == "refused"

    with_server(body)


def test_a_write_that_is_given_up_closes_its_connection():
    async def body(server):
        async with client_of(server) as client:
            server.answers.append(HANG)
            task = asyncio.create_task(client.write("canary-1", "x"))
            await until(lambda: server.requests)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await outcome(client, "canary-2"))[0] == "acknowledged"
            assert server.connections == 2

    with_server(body)


def test_templates_fill_url_body_and_headers():
    async def body(server):
        headers = {"Authorization": f"Bearer {SECRET}", "Idempotency-Key": "{key}"}
        order = {"id": "{key}", "total": "{value}", "items": [1]}
        async with client_of(
            server, "/orders", method="post", body=order, headers=headers, list_url="/orders"
        ) as client:
            await client.write("canary-1", "abc")
            server.answers.append((200, '[["canary-1", "abc"]]'))
            assert await client.read_all() == [["canary-1", "abc"]]
        (method, path, sent, text), (_, _, read, _) = server.requests
        assert (method, path) == ("POST", "/orders")
        assert json.loads(text) == {"id": "canary-1", "total": "abc", "items": [1]}
        assert sent["Content-Type"] == "application/json"
        assert sent["Idempotency-Key"] == "canary-1"
        assert sent["Authorization"] == read["Authorization"] == f"Bearer {SECRET}"
        async with client_of(server, "/set?k={key}&v={value}", body=None, read_url="/{key}") as one:
            await one.write("canary-2", "def")
        assert server.requests[-1][1] == "/set?k=canary-2&v=def"
        assert server.requests[-1][3] == ""

    with_server(body)


# -- reading back ---------------------------------------------------------------------------------


def test_a_list_is_an_object_pairs_objects_or_what_a_function_makes_of_it():
    texts = {
        '{"canary-1": "a"}': None,
        '[["canary-1", "a"]]': None,
        '[{"id": "canary-1", "total": "a"}]': ("id", "total"),
        "canary-1=a": lambda text: [tuple(text.split("="))],
    }

    async def body(server):
        for text, entries_in in texts.items():
            async with client_of(server, list_url="/all", entries_in=entries_in) as client:
                server.answers.append((200, text))
                found = await client.read_all()
            assert {tuple(each) for each in dict(found).items()} == {("canary-1", "a")}

    with_server(body)


def test_a_value_is_the_text_a_field_or_what_a_function_makes_of_it():
    async def body(server):
        for text, value_in in (("a", None), ('{"v": "a"}', "v"), ("[a]", lambda t: t[1])):
            async with client_of(server, value_in=value_in) as client:
                server.answers.append((200, text))
                assert await client.read("canary-1") == "a"

    with_server(body)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((200, "<html>sorry"), r"http_canary\(value_in=...\) finds nothing in an answer of 11 "),
        ((200, '{"w": "a"}'), "KeyError: 'v'"),
        (500, "HTTP status 500 of 127.0.0.1:"),
        (302, "HTTP status 302 of 127.0.0.1:"),
        (BREAK_BODY, "no answer of 127.0.0.1:"),
    ],
)
def test_what_can_not_be_read_is_an_error_and_never_an_absence(answer, message):
    async def body(server):
        async with client_of(server, value_in="v") as client:
            await client.write("canary-1", "a")
            server.answers += [answer]
            with pytest.raises(NotReadError, match=message) as raised:
                await client.read_all()
            assert "\n" not in str(raised.value)

    with_server(body)


def test_one_key_that_can_not_be_read_ends_the_reading_of_all():
    async def body(server):
        async with client_of(server) as client:
            for number in range(40):
                await client.write(f"canary-{number}", "a")
            server.answers += [(200, "a")] * 20 + [500] + [HANG] * 15
            with pytest.raises(NotReadError, match="HTTP status 500"):
                await client.read_all()

    with_server(body)


def test_what_leaves_a_write_open_says_so_to_the_canary():
    assert MaybeWrittenError.leaves_open is True
    assert not hasattr(NotWrittenError, "leaves_open")


def test_without_an_address_to_read_at_nothing_is_read():
    async def body(server):
        async with client_of(server, "/o", body="{key}", list_url="/all") as client:
            with pytest.raises(NotReadError, match="no read_url"):
                await client.read("canary-1")
            with pytest.raises(NotReadError, match=r"has no list at list_url \(404\)"):
                await client.read_all()

    with_server(body)


# -- through a disaster ---------------------------------------------------------------------------


def test_a_canary_sees_the_outage_of_a_server_and_what_it_lost():
    async def body(server):
        drill = Drill()
        client = http_canary(f"{server.url}/kv/{{key}}")
        async with Canary(drill, client, interval="5ms", read=client.read) as canary:
            with drill.rto.outage():
                await server.stop()
                await asyncio.sleep(0.2)
                lost = list(server.data)
                server.data.clear()
                await server.start()
        found = await canary.verify()
        assert {f"/kv/{key}" for key in found.lost} <= set(lost)
        assert len(found.lost) >= 3
        assert found.failed > 3
        assert 0.2 <= found.outage.total_seconds() < 5
        assert canary.client_loop is None

    with_server(body)


def test_no_secret_is_told_whatever_goes_wrong():
    async def body(server):
        drill = Drill()
        client = http_canary(
            f"{server.url}/kv/{{key}}?token={SECRET}",
            headers={"Authorization": f"Bearer {SECRET}", "X-Signed": f"{{key}} {SECRET}"},
        )
        assert SECRET not in repr(client) + repr(vars(client))  # as of pytest --showlocals
        assert "/kv/{key}" in repr(client)
        async with Canary(drill, client, interval="5ms", timeout="50ms", patience="100ms") as c:
            with drill.rto.outage():
                server.answers += [ECHO, 500, 400, BREAK_OFF, BREAK_HEAD, BREAK_BODY, 302] + [
                    HANG
                ] * 3
                await until(lambda: not server.answers)
                await server.stop()
                await until(lambda: "refused" in str(c._stream.last_error))
        with pytest.raises(NotRecovered) as raised:
            await c.verify()
        await c.close()  # the fixture sees to it where reading back fails
        told = str(raised.value) + json.dumps(drill.timeline.events())
        assert SECRET not in told
        assert "Connection refused" in told
        # Some versions of aiohttp quote what a server sends back that speaks no HTTP.
        assert client._settings.scrub(f"it said {SECRET}!") == "it said ***!"
        error = raised.value
        while error is not None:
            assert SECRET not in str(error)
            error = error.__cause__

    with_server(body)


# -- wrong uses -----------------------------------------------------------------------------------

GOOD = "http://h/{key}"


@pytest.mark.parametrize(
    ("url", "settings", "error", "message"),
    [
        (7, {}, TypeError, r"http_canary\(url=...\) takes a text, not int"),
        ("ftp://h/{key}", {}, ValueError, r"http_canary\(url=...\) is no address; write http://"),
        ("http://h:99999/{key}", {}, ValueError, "is no address"),
        ("http:///{key}", {}, ValueError, "is no address"),
        ("http://h/{key}#x", {}, ValueError, "is no address"),
        ("http://h/ {key}", {}, ValueError, "is no address"),
        (
            f"http://u:{SECRET}@h/{{key}}",
            {},
            ValueError,
            "give an Authorization header in headers=",
        ),
        (f"http://{SECRET}@h/{{key}}", {}, ValueError, "holds a user or a password"),
        ("http://{key}/", {}, ValueError, "has a key in the name of its host"),
        ("http://h/", {"list_url": "/"}, ValueError, "every write would be the same; put {key}"),
        (
            "http://h/",
            {"body": "{key}"},
            ValueError,
            "nothing says how to read back; give read_url",
        ),
        (GOOD, {"read_url": "/all"}, ValueError, r"read_url=...\) needs {key} in it"),
        (GOOD, {"read_url": 7}, TypeError, r"read_url=...\) takes a text, not int"),
        (GOOD, {"list_url": "/{key}"}, ValueError, "lists all keys"),
        (GOOD, {"list_url": "all"}, ValueError, r"http_canary\(list_url=...\) is no address"),
        (GOOD, {"method": "GET IT"}, ValueError, "'GET IT'.* is no method; write PUT or POST"),
        (GOOD, {"body": 7}, TypeError, "takes a text, or a mapping or list for JSON, not int"),
        (GOOD, {"headers": SECRET}, TypeError, r"headers=...\) takes a mapping, not str"),
        (GOOD, {"headers": {"A B": "x"}}, ValueError, "'A B' is no name of a header"),
        (
            GOOD,
            {"headers": {"A": f"{SECRET}\r\nB: c"}},
            ValueError,
            "the value of A is no text of one line",
        ),
        (GOOD, {"acknowledged": 200}, ValueError, r"acknowledged=200\) takes statuses, such as"),
        (GOOD, {"refused": [99]}, ValueError, "takes statuses"),
        (GOOD, {"acknowledged": (409,), "refused": (409,)}, ValueError, "409 can't both"),
        (GOOD, {"value_in": 7}, TypeError, "takes the name of a field of a JSON object"),
        (GOOD, {"entries_in": "id"}, TypeError, "takes two names, of the fields"),
        (GOOD, {"ssl": None}, TypeError, "takes an SSLContext or False, not None"),
    ],
)
def test_arguments_are_checked(url, settings, error, message):
    with pytest.raises(error, match=message) as raised:
        http_canary(url, **settings)
    assert SECRET not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_client_that_was_closed_is_not_used_again():
    async def body(server):
        async with client_of(server) as client:
            await client.close()
            with pytest.raises(RuntimeError, match="is for one canary, whose end has closed it"):
                await client.write("canary-1", "x")

    with_server(body)


def test_addresses_are_told_as_host_and_port():
    client = http_canary("https://h/{key}", list_url="http://[::1]:8080/all", read_url="/r/{key}")
    assert client.targets == ("h:443", "[::1]:8080")
