"""The switch over HAProxy's runtime API: what it changes, and what it never does later."""

import asyncio
import os
import time

import pytest
from haproxy_site import Load, Relay, haproxy_of, names, request

from pytest_drdrill import (
    HAProxyError,
    HAProxyPreset,
    HAProxyServer,
    HAProxyTraffic,
    ServiceEndpoint,
)
from pytest_drdrill.failover import WeightedSwitch
from pytest_drdrill.live.account import server_account
from pytest_drdrill.live.ports import free_port

A, B, C = (ServiceEndpoint(name, "http://127.0.0.1:1") for name in "abc")
OWN = """global
  maxconn 100
  stats socket {folder}/admin.sock mode 600 level admin
  stats socket {folder}/operator.sock mode 600 level operator
  stats socket ipv4@127.0.0.1:PORT level admin
  stats socket {folder}/ready.sock
defaults
  mode http
  timeout connect 1s
  timeout client 1s
  timeout server 1s
backend web
  server a 127.0.0.1:1 check inter 1h
  server b 127.0.0.1:1 weight 0
  server c 127.0.0.1:1 track a
backend api
  balance source
  server a 127.0.0.1:1
"""


@pytest.fixture(scope="module")
def tcp_port():
    return free_port()


@pytest.fixture
def own(tcp_port):
    with haproxy_of(OWN.replace("PORT", str(tcp_port))) as server:
        yield server.folder / "admin.sock"


def log_of(haproxy, words):
    return haproxy._server.log.read_text().count(words)


@pytest.mark.asyncio
async def test_traffic_goes_where_it_is_switched_and_nothing_is_said_twice(pair, before):
    haproxy = before(pair)
    a, b = haproxy.endpoints
    traffic = haproxy.traffic
    assert isinstance(traffic, WeightedSwitch)
    assert await names(haproxy.url) == {"a"}
    await traffic.activate(b)
    assert await names(haproxy.url) == {"a", "b"}
    for _ in range(3):
        await traffic.deactivate(a)
        await traffic.activate(b)
    assert await names(haproxy.url) == {"b"}
    assert log_of(haproxy, "Server service/a is going DOWN for maintenance") == 1
    assert log_of(haproxy, "Server service/b is UP/READY") == 1
    assert await traffic.lost() == []


@pytest.mark.asyncio
async def test_weights_share_the_traffic_and_none_drains(pair, before):
    haproxy = before(pair, standby="in")
    a, _ = haproxy.endpoints
    await haproxy.traffic.set_weight(a, 3)
    async with Load(haproxy.url, clients=1) as load:
        await load.until(lambda load: len(load.answers) >= 40)
        assert 28 <= load.answers[:40].count("a") <= 32
        await haproxy.traffic.set_weight(a, 0)
        await haproxy.traffic.activate(a)  # as a cluster does; it drains all the same
        assert await load.serves("b")
        begun = len(load.answers)
        await load.until(lambda load: len(load.answers) >= begun + 12)
        assert set(load.answers[begun + 1 :]) == {"b"}
        assert load.failures == []


@pytest.mark.asyncio
async def test_an_haproxy_that_hangs_does_nothing_once_it_goes_on(pair, before):
    haproxy = before(pair)
    a, b = haproxy.endpoints
    traffic = HAProxyTraffic(haproxy.socket, haproxy.backend, timeout="100ms")
    haproxy.pause()
    with pytest.raises(HAProxyError, match=r"admin\.sock gave no answer within 100ms$"):
        await traffic.deactivate(a)
    call = asyncio.create_task(traffic.activate(b))
    await asyncio.sleep(0.02)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    haproxy.resume()
    await haproxy.traffic.activate(a)  # behind whatever was sent before
    assert await names(haproxy.url) == {"a"}
    assert log_of(haproxy, "maintenance") == 0
    lost = await traffic.lost()
    assert [each.partition(";")[0] for each in lost] == [
        "service/a was deactivated and is ready",
        "service/b was activated and is out",
    ]


@pytest.mark.asyncio
async def test_a_call_that_is_cancelled_in_its_change_ends_with_the_answer(pair, before, tmp_path):
    haproxy = before(pair)
    a, _ = haproxy.endpoints
    path = tmp_path / "r"
    async with Relay(path, haproxy.socket, held=3) as relay:  # prompt, the states, the change
        traffic = HAProxyTraffic(path, "service")
        call = asyncio.create_task(traffic.deactivate(a))
        await relay.holds.wait()
        call.cancel()
        await asyncio.sleep(0.05)
        assert not call.done()  # what it asked for may still take effect
        relay.go.set()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert log_of(haproxy, "Server service/a is going DOWN for maintenance") == 1


@pytest.mark.asyncio
async def test_a_cancelled_call_whose_answer_never_comes_ends_all_the_same(
    pair, before, tmp_path, monkeypatch
):
    monkeypatch.setattr("pytest_drdrill.live.haproxy.runtime.LATEST_ANSWER_S", 0.05)
    haproxy = before(pair)
    path = tmp_path / "r"
    async with Relay(path, haproxy.socket, held=3):
        traffic = HAProxyTraffic(path, "service", timeout="50ms")
        with pytest.raises(HAProxyError, match="gave no answer within 50ms"):
            await traffic.deactivate(haproxy.endpoints[0])


@pytest.mark.asyncio
async def test_a_change_that_was_only_acknowledged_is_found_out(pair, before, tmp_path):
    haproxy = before(pair)
    a, b = haproxy.endpoints
    async with Relay(tmp_path / "r", haproxy.socket, swallows=b"set server"):
        traffic = HAProxyTraffic(tmp_path / "r", "service")
        with pytest.raises(HAProxyError, match=r"service/a of .* is not out, though that was ack"):
            await traffic.deactivate(a)
        with pytest.raises(HAProxyError, match=r"service/b of .* is still out"):
            await traffic.activate(b)
        with pytest.raises(HAProxyError, match=r"service/a of .* has the weight 1, not 7"):
            await traffic.set_weight(a, 7)


@pytest.mark.asyncio
async def test_what_can_not_be_done_is_one_sentence(own, tcp_port, tmp_path):
    folder = own.parent

    async def refused(socket, backend="web", endpoint=A, **settings):
        with pytest.raises(HAProxyError) as caught:
            await HAProxyTraffic(socket, backend, **settings).deactivate(endpoint)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    gone = tmp_path / "gone.sock"
    assert await refused(gone) == (
        f"there is no stats socket {gone}: HAProxy does not run, or its config lacks "
        f"`stats socket {gone} level admin`"
    )
    assert await refused(own, "wbe") == (
        f"this HAProxy has no backend 'wbe', only web, api (asked at {own})"
    )
    assert await refused(own, servers={"a": "a9"}) == (
        f"the backend 'web' of HAProxy at {own} has no server 'a9', only a, b, c"
    )
    operator = folder / "operator.sock"
    assert await refused(operator) == (
        f"the stats socket {operator} may not change servers: its line needs `level admin`"
    )
    closed = f"127.0.0.1:{free_port()}"
    assert await refused(closed) == (
        f"nobody listens on the stats socket {closed}: HAProxy does not run"
    )
    await HAProxyTraffic(f"127.0.0.1:{tcp_port}", "web").deactivate(A)
    traffic = HAProxyTraffic(own, "web")
    with pytest.raises(HAProxyError, match=r"web/b of .* has the weight 0 and gets no traffic"):
        await traffic.activate(B)
    with pytest.raises(HAProxyError, match=r"web/c of .* is still out, as a server that it tracks"):
        await traffic.activate(C)
    with pytest.raises(HAProxyError, match=r"refused `set server api/a weight 7`: .Backend is usi"):
        await HAProxyTraffic(own, "api").set_weight(A, 7)


@pytest.mark.asyncio
async def test_a_user_without_rights_hears_whose_they_are(own):
    traffic = HAProxyTraffic(own, "web")
    if os.geteuid():
        own.chmod(0)
    else:
        other = next(uid for uid in (1, 2) if uid != server_account("haproxy").uid)
        os.seteuid(other)
    try:
        with pytest.raises(HAProxyError, match=r"this user may not use the stats socket .*mode"):
            await traffic.activate(A)
    finally:
        if os.getuid() == 0:
            os.seteuid(0)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"Unknown command. Please enter one of the following commands only :\n help\n\n> ", "1.6"),
        (b"Permission denied\n\n> ", "it may not show servers: its line needs `level admin`"),
        (b"", "ended the connection without an answer"),
    ],
)
@pytest.mark.asyncio
async def test_what_is_no_stats_socket_of_today_is_told(answer, message):
    """As versions answer that no machine here runs."""

    async def serve(reader, writer):
        await reader.readline()
        writer.write(b"\n> ")
        while answer and await reader.readline():
            writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(HAProxyError, match=message) as caught:
            await HAProxyTraffic(f"127.0.0.1:{port}", "web").activate(A)
        assert "\n" not in str(caught.value)


@pytest.mark.asyncio
async def test_a_server_that_the_checks_have_down_is_waited_for(webs, before):
    a, b = webs("a", "b")
    haproxy = before([a, b], standby="in", checks=HAProxyPreset("20ms", fall=1, rise=1))
    traffic = HAProxyTraffic(haproxy.socket, haproxy.backend, timeout="50ms")
    b.pause()
    end = time.monotonic() + 30
    while log_of(haproxy, "Server service/b is DOWN") == 0:
        assert time.monotonic() < end
        await asyncio.sleep(0.01)
    with pytest.raises(HAProxyError, match="but HAProxy's own checks had it down for 50ms"):
        await traffic.activate(b.endpoint)
    call = asyncio.create_task(haproxy.traffic.activate(b.endpoint))
    await asyncio.sleep(0.03)
    assert not call.done()
    await haproxy.traffic.deactivate(a.endpoint)  # which does not wait for it
    b.resume()
    await call
    assert await names(haproxy.url) == {"b"}


@pytest.mark.parametrize("shutdown", [False, True])
@pytest.mark.asyncio
async def test_what_is_under_way_goes_on_unless_it_is_to_end(pair, before, shutdown):
    haproxy = before(pair, answer_within="1m", redispatch=False)  # longer than a client waits
    traffic = HAProxyTraffic(haproxy.socket, "service", shutdown_sessions=shutdown)
    a, b = pair
    a.pause()
    call = asyncio.create_task(request(haproxy.url))
    while not await sessions(haproxy):  # noqa: ASYNC110 - HAProxy is asked
        await asyncio.sleep(0.005)
    await traffic.deactivate(a.endpoint)
    await traffic.activate(b.endpoint)
    if shutdown:
        assert (await call)[0] in {502, 503, 504}
        a.resume()
    else:
        assert (await request(haproxy.url))[1] == "b"
        a.resume()
        assert await call == (200, "a")


async def sessions(haproxy):
    """How many requests are under way on the first server, as HAProxy says."""
    reader, writer = await asyncio.open_unix_connection(str(haproxy.socket))
    writer.write(b"show stat service 4 1\n")
    row = (await reader.read()).splitlines()[1].split(b",")
    writer.close()
    return int(row[4])  # scur


@pytest.mark.asyncio
async def test_a_reload_forgets_what_was_switched_and_that_is_found(pair, before):
    haproxy = before(pair)
    a, b = haproxy.endpoints
    await haproxy.traffic.deactivate(a)
    await haproxy.traffic.activate(b)
    await haproxy.traffic.set_weight(b, 5)
    haproxy.reload()
    lost = await haproxy.traffic.lost()
    assert [each.partition("; HAProxy, process ")[0] for each in lost] == [
        "service/a was deactivated and is ready",
        "service/b was activated and is out",
        "service/b was given the weight 5 and has 1",
    ]
    assert await names(haproxy.url) == {"a"}
    await haproxy.traffic.reapply()
    assert await haproxy.traffic.lost() == []
    assert await names(haproxy.url) == {"b"}


@pytest.mark.asyncio
async def test_a_reload_keeps_what_was_switched_where_the_states_are_kept(pair, before):
    haproxy = before(pair, keep_state=True)
    a, b = haproxy.endpoints
    await haproxy.traffic.deactivate(a)
    await haproxy.traffic.activate(b)
    async with Load(haproxy.url) as load:
        for _ in range(2):
            assert await load.serves("b")
            haproxy.reload()
            assert await haproxy.traffic.lost() == []
        assert await load.serves("b")
    assert set(load.answers) == {"b"}
    assert load.failures == []


@pytest.mark.asyncio
async def test_many_changes_at_once_are_made_one_after_the_other():
    endpoints = [ServiceEndpoint(f"n{number}", "http://127.0.0.1:1") for number in range(60)]
    with HAProxyServer(endpoints) as haproxy:
        traffic = haproxy.traffic
        await asyncio.gather(*(traffic.set_weight(each, 2) for each in endpoints))
        await asyncio.gather(*(traffic.activate(each) for each in endpoints))
        assert await traffic.lost() == []


def test_a_switch_serves_one_event_loop_after_the_other(pair, before):
    haproxy = before(pair)
    a, b = haproxy.endpoints

    async def both():
        await asyncio.gather(*(haproxy.traffic.activate(each) for each in (a, b) * 8))

    for _ in range(2):
        asyncio.run(both())


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        (("admin", "web"), ValueError, "'admin' is no stats socket; write a path such as"),
        ((7, "web"), TypeError, "a stats socket is a path such as .*, not 7"),
        (("/s", "web; quit"), ValueError, "the backend 'web; quit' is no name of HAProxy's"),
        (("/s", "web\n"), ValueError, "letters, digits"),
        (("/s", None), TypeError, "the backend must be the name that HAProxy's config has"),
        (("/s", "web", {"a": "x y"}), ValueError, "the server of 'a' 'x y' is no name"),
        (("/s", "web", ["a"]), TypeError, "servers must map names of endpoints to servers"),
    ],
)
def test_a_switch_refuses_what_can_not_be_meant(arguments, kind, message):
    with pytest.raises(kind, match=message):
        HAProxyTraffic(*arguments)


@pytest.mark.asyncio
async def test_a_call_refuses_what_can_not_be_meant():
    traffic = HAProxyTraffic("/no/such", "web", {"a": "web1"})
    with pytest.raises(ValueError, match=r"the endpoint 'b' has no server here; those of 'a' have"):
        await traffic.activate(B)
    with pytest.raises(ValueError, match="weights from 0 to 256, not 257"):
        await traffic.set_weight(A, 257)
    with pytest.raises(TypeError, match="a weight must be a whole number, not True"):
        await traffic.set_weight(A, True)
    with pytest.raises(ValueError, match="the server 'x y' is no name of HAProxy's"):
        await HAProxyTraffic("/no/such", "web").activate(ServiceEndpoint("x y", "http://x"))
    with pytest.raises(ValueError, match="timeout must be above zero"):
        HAProxyTraffic("/s", "web", timeout="0s")
