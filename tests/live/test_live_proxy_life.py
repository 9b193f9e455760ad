"""A proxy from its start to its end: nothing is left behind, and what goes wrong is said."""

import errno
import gc
import os
import re
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from proxy_site import (
    PATIENCE_S,
    Site,
    is_refused,
    is_reset,
    is_reset_at_once,
    passes,
    received,
    site,
    until,
)

from needs import lacks
from pytest_drdrill import FaultError, FaultProxy
from pytest_drdrill.live import door, relay
from pytest_drdrill.live.host_port import read_host_port

__all__ = ["site"]


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


@contextmanager
def nothing_left():
    """No thread, and no descriptor."""
    gc.collect()
    threads, files = threading.enumerate(), open_files()
    yield
    assert threading.enumerate() == threads
    assert open_files() == files


@contextmanager
def descriptors(count):
    """At least so many may be open, where this user may have so many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        lacks(f"{count} descriptors: ulimit -n {count}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_listens_on_loopback_alone_and_leaves_nothing():
    with nothing_left(), ExitStack() as stack:
        site = Site(stack)
        proxy = site.proxy
        assert (proxy.host, proxy.address) == ("127.0.0.1", f"127.0.0.1:{proxy.port}")
        assert proxy.target == f"127.0.0.1:{site.server_port}"
        site.pair()
        site.pair()
        assert (proxy.connections, proxy.accepted) == (2, 2)
    assert is_refused(site.at)
    proxy.stop()


@pytest.mark.parametrize("fault", ["latency", "blackhole", "refuse", "half_open", "reset"])
def test_stop_undoes_faults_and_breaks_off_what_is_open(fault):
    with nothing_left(), ExitStack() as stack:
        site = Site(stack)
        client, served = site.pair()
        arguments = {"latency": ["1h"]}.get(fault, [])
        getattr(site.proxy, fault)(*arguments)
        client.sendall(b"under way") if fault != "reset" else None
        site.proxy.stop()
        if fault == "latency":
            assert is_reset(client)
        undone = [event for event, _ in site.told].count("fault undone")
        assert undone == (fault != "reset")
        assert is_refused(site.at)
        del served


def test_client_that_is_just_connecting_is_broken_off_as_well():
    with nothing_left(), ExitStack() as stack:
        # A server that takes nobody: its queue is full, and what asks for more is dropped.
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        fillers = [stack.enter_context(socket.socket()) for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(server.getsockname())
        proxy = stack.enter_context(FaultProxy(*server.getsockname()))
        clients = [
            stack.enter_context(socket.create_connection((proxy.host, proxy.port), PATIENCE_S))
            for _ in range(2)
        ]
        until(lambda: proxy.accepted == 2)
        assert proxy.connections == 0
        proxy.reset()
        proxy.stop()
        assert all(map(is_reset, clients))


def test_client_that_has_connected_this_instant_is_broken_off_as_well():
    with nothing_left(), ExitStack() as stack:
        site = Site(stack)
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        client = stack.enter_context(socket.create_connection(listener.getsockname()))
        came, _ = listener.accept()
        came.setblocking(False)
        made = site.proxy._relay

        def break_off_at_once():
            made._welcome(came)
            made.reset_all()

        made.call(break_off_at_once)
        assert is_reset(client)
        site.proxy.stop()
        assert came.fileno() == -1


def test_can_be_started_again_on_its_port(site):
    proxy, port = site.proxy, site.proxy.port
    proxy.stop()
    proxy.start()
    assert proxy.port == port
    site.pair()
    with pytest.raises(FaultError, match=f"runs already, on 127.0.0.1:{port}"):
        proxy.start()


def test_port_that_is_taken(site):
    with nothing_left():
        message = f"port {site.server_port} of 127.0.0.1 is taken, so the proxy can't listen there"
        with pytest.raises(FaultError, match=message):
            FaultProxy("127.0.0.1", 1, port=site.server_port).start()


def test_wanted_port_is_listened_on(site):
    with socket.create_server(("127.0.0.1", 0)) as other:
        free = other.getsockname()[1]
    with FaultProxy("127.0.0.1", site.server_port, port=free) as proxy:
        assert proxy.port == free


def test_unknown_host():
    with (
        nothing_left(),
        pytest.raises(FaultError, match=r"the host 'nosuchhost\.invalid' can't be looked up"),
    ):
        FaultProxy("nosuchhost.invalid", 80).start()


def test_host_by_its_name_and_both_families(site):
    with FaultProxy("localhost", site.server_port) as proxy:
        site.proxy = proxy
        site.pair()


def test_every_address_of_a_name_is_tried(site, monkeypatch):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        sites = [nobody.getsockname(), ("127.0.0.1", site.server_port)]
        monkeypatch.setattr(relay, "resolve", lambda _: [(socket.AF_INET, at) for at in sites])
        with FaultProxy("127.0.0.1", 1) as site.proxy:
            site.pair()


def test_proxy_that_can_not_open_its_port_leaves_nothing(monkeypatch):
    def taken(port):
        raise FaultError(f"port {port} is taken")

    monkeypatch.setattr(door, "_listening", taken)
    with nothing_left(), pytest.raises(FaultError, match="is taken"):
        FaultProxy("127.0.0.1", 1).start()


def test_server_on_ipv6():
    try:
        server = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        lacks("IPv6 on loopback")
    with server, FaultProxy("::1", server.getsockname()[1]) as proxy:
        assert proxy.target == f"[::1]:{server.getsockname()[1]}"
        with socket.create_connection((proxy.host, proxy.port)) as client:
            served, _ = server.accept()
            with served:
                passes(client, served)


def test_server_that_is_down_resets_and_may_come_up_later(site):
    site.listener.close()
    assert is_reset_at_once(site.at)
    assert site.proxy.connections == 0
    with socket.create_server(("127.0.0.1", site.server_port)) as site.listener:
        site.listener.settimeout(PATIENCE_S)
        site.pair()


def test_server_that_goes_away_takes_its_connections_along(site):
    client, served = site.pair()
    served.close()
    site.listener.close()
    assert client.recv(1) == b""


def test_500_connections_at_once():
    with nothing_left(), descriptors(4096), ExitStack() as stack:
        site = Site(stack)
        clients = []
        for _ in range(500):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(site.at)
            clients.append(client)
        served = [site.accept() for _ in clients]
        for number, client in enumerate(clients):
            client.settimeout(PATIENCE_S)
            client.sendall(b"%03d" % number)
        by_number = {int(received(each, 3)): each for each in served}
        assert sorted(by_number) == list(range(500))
        for number in range(500):
            by_number[number].sendall(b"answer to %03d" % number)
        for number, client in enumerate(clients):
            assert received(client, 13) == b"answer to %03d" % number
        assert site.proxy.connections == 500
        site.proxy.reset()
        assert all(is_reset(client) for client in clients)


@pytest.mark.parametrize("left", [0, 1])
def test_running_out_of_descriptors_is_no_evidence_and_no_end(left):
    with nothing_left(), ExitStack() as stack:
        site = Site(stack)
        site.pair()
        client = stack.enter_context(socket.socket())
        client.settimeout(PATIENCE_S)
        known = False
        with none_left_but(left):  # with one it is the server that can't be reached
            try:
                client.connect(site.at)
            except ConnectionResetError:  # a reset may be faster than whoever waits to be connected
                known = True
            until(lambda: site.proxy._relay._failure is not None, 5)
        if left:
            assert known or is_reset(client)
            site.pair()
        else:
            passes(client, site.accept())
        with pytest.raises(FaultError, match=r"ran short .* its clients saw since then is no evid"):
            site.proxy.stop()
        site.proxy.stop()


def test_server_that_lack_of_buffers_keeps_out_of_reach_is_no_evidence(site):
    async def short(*_):
        raise OSError(errno.ENOBUFS, "No buffer space available")

    site.proxy._relay._loop.sock_connect = short
    assert is_reset_at_once(site.at)
    with pytest.raises(FaultError, match="No buffer space available; what its clients saw since"):
        site.proxy.stop()


@contextmanager
def none_left_but(count):
    """This process may open so many more files."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = max(int(path.name) for path in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (most + 8, before[1]))
    taken = []
    try:
        with suppress(OSError):
            while True:
                taken.append(os.dup(0))
        for _ in range(count):
            os.close(taken.pop())
        yield
    finally:
        for each in taken:
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_bug_of_ours_is_no_evidence(site, monkeypatch):
    from pytest_drdrill.live.link import Link

    def broken(*_):
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(Link, "_end_arrived", broken)
        client, _ = site.pair()
        client.shutdown(socket.SHUT_WR)
        until(lambda: site.proxy._relay._failure is not None, 5)
    with pytest.raises(FaultError, match=r"broke: ZeroDivisionError\(\); what its clients saw"):
        site.proxy.stop()


def test_interrupt_while_a_fault_strikes_leaves_it_to_be_undone(site, monkeypatch):
    running = site.proxy._relay
    pair = site.pair()

    def interrupted(action, call=running.call):
        call(action)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(running, "call", interrupted)
        with pytest.raises(KeyboardInterrupt):
            site.proxy.latency("1h")
    site.proxy._stack.undo_all()
    passes(*pair)


@pytest.mark.parametrize(
    ("given", "address"),
    [
        (("127.0.0.1", 5432), "127.0.0.1:5432"),
        (("127.0.0.1:5432",), "127.0.0.1:5432"),
        ((" db.example:1 ",), "db.example:1"),
        (("[::1]:5432",), "[::1]:5432"),
        (("::1", 5432), "[::1]:5432"),
        (("fe80::1%lo", 65535), "[fe80::1%lo]:65535"),
    ],
)
def test_addresses(given, address):
    assert str(read_host_port(*given)) == address


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        (("127.0.0.1",), ValueError, "'127.0.0.1' is no address; write"),
        (("::1:5432",), ValueError, "'::1:5432' is no address; write"),
        (("db:http",), ValueError, "'db:http' is no address; write"),
        (("db:999999",), ValueError, "'db:999999' is no address; write"),
        (("db:0",), ValueError, "a port is between 1 and 65535, not 0"),
        (("db:65536",), ValueError, "a port is between 1 and 65535, not 65536"),
        ((":5432",), ValueError, "':5432' is no address; write"),
        (("http://db:80",), ValueError, "a password (not shown) is no address; write"),
        (("user:secret@db", 80), ValueError, "no host; write"),
        (("127.0.0.1:5432", 5432), ValueError, "'127.0.0.1:5432' is no host; write"),
        (("", 80), ValueError, "'' is no host; write"),
        ((b"db", 80), TypeError, "b'db' is no host; write"),
        (("db", "80"), TypeError, "a port is a whole number, not '80'"),
        (("db", True), TypeError, "a port is a whole number, not True"),
    ],
)
def test_bad_addresses(given, kind, message):
    with pytest.raises(kind, match=re.escape(message)):
        read_host_port(*given)


def test_bad_address_of_a_proxy():
    with pytest.raises(ValueError, match="a port is between 0 and 65535, not -1"):
        FaultProxy("db", 80, port=-1)
    with pytest.raises(TypeError, match="a port is a whole number, not None"):
        FaultProxy("db", None)


DRILL = """
import select, socket, sys, pytest
@pytest.mark.dr_service("db")
def test_it(fault_proxy):
    server = socket.create_server(("127.0.0.1", 0))
    proxy = fault_proxy("127.0.0.1", server.getsockname()[1])
    client = socket.create_connection((proxy.host, proxy.port))
    server.accept()
    {faults}
    print(proxy.port, file=sys.stderr, flush=True)
    select.select([sys.stdin], [], [])
"""


@pytest.mark.parametrize(
    ("how", "faults"),
    [
        (signal.SIGKILL, "proxy.blackhole()"),
        (signal.SIGKILL, "proxy.refuse(); proxy.latency('1h')"),
        (signal.SIGTERM, "proxy.blackhole()"),
    ],
)
def test_nothing_is_left_of_a_proxy_whose_pytest_is_killed(pytester, how, faults):
    path = pytester.makepyfile(DRILL.format(faults=faults))
    command = [sys.executable, "-m", "pytest", "-s", "-p", "no:cacheprovider", path]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as drill:
        port = int(drill.stderr.readline())
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(("127.0.0.1", port))
        drill.send_signal(how)
        drill.wait()
    with client:
        # Whoever asked to connect meanwhile hears at last that there is nobody.
        assert is_refused(("127.0.0.1", port))
        select.select([], [client], [], PATIENCE_S)
        assert select.select([client], [], [], PATIENCE_S)[0]
        with suppress(ConnectionError):
            assert client.recv(1) == b""
