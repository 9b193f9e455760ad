"""A scratch HAProxy: who it runs as, where it listens, and what it does with requests."""

import asyncio
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
from haproxy_site import Load, names, request

from pytest_drdrill import (
    ComponentMissing,
    HAProxyPreset,
    HAProxyServer,
    ServerFailed,
    ServiceEndpoint,
)
from pytest_drdrill.faults.journal import recover
from pytest_drdrill.faults.tree import process_id, tree_of
from pytest_drdrill.live import ports
from pytest_drdrill.live.account import server_account
from pytest_drdrill.live.ports import free_port

HTTP = ServiceEndpoint("a", "http://127.0.0.1:1")


def tree(haproxy):
    return tree_of(process_id(haproxy._server.process.pid))


def gone(processes):
    """They were signalled; how soon each ends is the kernel's matter."""
    end = time.monotonic() + 30
    while any(each.is_alive for each in processes):
        assert time.monotonic() < end
        time.sleep(0.002)


def test_it_runs_as_an_ordinary_user_listens_here_alone_and_leaves_nothing(pair, before):
    haproxy = before(pair)
    processes = tree(haproxy)
    assert len(processes) == 2  # the master and its worker
    assert {Path(f"/proc/{each.pid}").stat().st_uid for each in processes} == {
        server_account("haproxy").uid
    }
    listening = {
        line.split()[1].partition(":")[0]
        for each in processes
        for kind in ("tcp", "tcp6", "udp", "udp6")
        for line in Path(f"/proc/{each.pid}/net/{kind}").read_text().splitlines()[1:]
        if int(line.split()[1].rpartition(":")[2], 16) == haproxy.port
    }
    assert listening == {"0100007F"}
    folder = haproxy.socket.parent
    assert folder.stat().st_mode & 0o777 == 0o700
    haproxy.close()
    haproxy.close()
    assert not folder.exists()
    gone(processes)


@pytest.mark.asyncio
async def test_it_is_killed_and_started_again_where_it_was(pair, before):
    told = []
    haproxy = before(pair, on_event=lambda event, detail: told.append(event))
    await haproxy.traffic.activate(haproxy.endpoints[1])
    assert await names(haproxy.url) == {"a", "b"}
    url = haproxy.url
    haproxy.kill()
    assert not haproxy.is_running
    with pytest.raises(ServerFailed, match="does not answer, so it can't be reloaded"):
        haproxy.reload()
    haproxy.start()
    assert haproxy.url == url
    assert await names(url) == {"a"}  # what was switched is forgotten
    haproxy.pause()
    haproxy.resume()
    for _ in range(3):  # at once: the next one must not come too soon for the new master
        haproxy.reload()
    assert await names(url) == {"a"}
    await haproxy.traffic.activate(haproxy.endpoints[1])
    first = haproxy._server.process
    assert haproxy.restart() > timedelta(0)
    assert first.returncode >= 0  # it was asked, and ended by itself
    assert await names(url) == {"a"}
    words = "started killed started paused resumed reloaded reloaded reloaded restarting started"
    assert told == [f"haproxy {each}" for each in words.split()]


def test_a_port_that_somebody_took_meanwhile_is_given_up(pair, before, monkeypatch):
    taken = [pair[0].port, free_port()]
    monkeypatch.setattr(ports, "free_port", lambda: taken.pop(0))
    expected = taken[1]
    assert before(pair).port == expected


def test_a_machine_without_haproxy_is_told_what_to_install(pair, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("pytest_drdrill.live.programs._SYSTEM", ())
    with pytest.raises(ComponentMissing) as caught:
        HAProxyServer([pair[0].endpoint])
    assert str(caught.value) == ("this machine lacks haproxy; install it: apt-get install haproxy")


@pytest.mark.asyncio
async def test_while_no_server_is_in_requests_wait(pair, before):
    haproxy = before(pair, patience="20s")
    a, b = haproxy.endpoints
    await haproxy.traffic.deactivate(a)
    call = asyncio.create_task(request(haproxy.url))
    await asyncio.sleep(0.1)
    assert not call.done()
    await haproxy.traffic.activate(b)
    assert await call == (200, "b")
    hasty = before(pair, redispatch=False)
    await hasty.traffic.deactivate(a)
    assert (await request(hasty.url))[0] == 503


@pytest.mark.asyncio
async def test_patience_ends(pair, before):
    haproxy = before(pair, patience="250ms")
    await haproxy.traffic.deactivate(haproxy.endpoints[0])
    assert (await request(haproxy.url))[0] == 503


@pytest.mark.asyncio
@pytest.mark.parametrize(("method", "status"), [("GET", 200), ("POST", 504)])
async def test_what_may_not_be_done_twice_is_not_tried_again(pair, before, method, status):
    haproxy = before(pair, standby="in", answer_within="200ms")
    a, _ = pair
    a.pause()  # takes the request, and may carry it out once it goes on
    found = [await request(haproxy.url, method) for _ in range(2)]  # one for each server
    assert status in {each[0] for each in found}
    if method == "GET":
        assert found == [(200, "b")] * 2


@pytest.mark.asyncio
async def test_its_own_checks_send_traffic_to_a_backup(pair, before):
    haproxy = before(pair, standby="backup", checks=HAProxyPreset("30ms", fall=2, rise=1))
    a, _ = pair
    async with Load(haproxy.url) as load:
        await load.until(lambda load: len(load.answers) >= 20)
        assert set(load.answers) == {"a"}
        a.kill()
        assert await load.serves("b")
    assert load.failures == []


def test_paths_queries_and_names_reach_the_config(before):
    endpoints = [
        ServiceEndpoint(name, f"http://[::1]:{port}/shop", health_check_path="/up?deep=1")
        for name, port in (("east 1", 81), ("west", 82))
    ]
    with HAProxyServer(endpoints, checks=HAProxyPreset("1s", timeout_check="200ms")) as haproxy:
        text = (haproxy.socket.parent / "haproxy.cfg").read_text()
        assert "option httpchk GET /shop/up?deep=1\n" in text
        assert "timeout check 200ms\n" in text
        assert "server server-1 [::1]:81 check inter 1000ms fall 3 rise 2\n" in text
        assert "server west [::1]:82 check inter 1000ms fall 3 rise 2 disabled\n" in text
        assert haproxy.servers == {"east 1": "server-1", "west": "west"}
        assert haproxy.url == f"http://127.0.0.1:{haproxy.port}/shop"


@pytest.mark.parametrize(
    ("endpoints", "settings", "kind", "message"),
    [
        ([], {}, ValueError, "at least one endpoint"),
        ([HTTP], {"standby": "off"}, ValueError, "standby must be one of 'out', 'backup', 'in'"),
        ([HTTP], {"checks": True}, TypeError, "checks must be an HAProxyPreset or None"),
        ([HTTP], {"redispatch": 1}, TypeError, "redispatch must be True or False, not 1"),
        ([HTTP], {"patience": "0s"}, ValueError, "patience must be above zero"),
        ([ServiceEndpoint("a", "https://x")], {}, ValueError, "stands before http:// endpoints"),
        (
            [HTTP, ServiceEndpoint("b", "http://127.0.0.1:1/b")],
            {},
            ValueError,
            "all endpoints need the same one: 'http://127.0.0.1:1/b' differs from",
        ),
        (
            [HTTP, ServiceEndpoint("b", "http://127.0.0.1:1", health_check_path="/b")],
            {"checks": HAProxyPreset()},
            ValueError,
            "with one path: '/b' of 'b' differs from '/health'",
        ),
        ([ServiceEndpoint("waiting", "http://x")], {}, ValueError, "beside 'waiting'"),
    ],
)
def test_what_it_can_not_stand_before_is_refused(endpoints, settings, kind, message):
    with pytest.raises(kind, match=message):
        HAProxyServer(endpoints, **settings)


KILLED = """
import os
from pytest_drdrill import HAProxyServer, ServiceEndpoint
from pytest_drdrill.faults.journal import Journal
from pytest_drdrill.faults.tree import process_id, tree_of
haproxy = HAProxyServer([ServiceEndpoint("a", "http://127.0.0.1:1")])
haproxy.reload()
ids = tree_of(process_id(haproxy._server.process.pid))
print(haproxy.socket.parent, *(each.pid for each in ids), flush=True)
Journal.own()._guardian._shell.kill()  # which would be as quick as who comes next
os.kill(os.getpid(), 9)
"""


def test_what_a_killed_run_leaves_is_ended_by_the_next_one():
    command = [sys.executable, "-c", KILLED]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    folder, *pids = run.stdout.split()
    ids = [process_id(int(each)) for each in pids]
    assert len(ids) >= 2
    assert all(ids)
    assert recover().failed == ()
    assert not Path(folder).exists()
    gone(ids)
