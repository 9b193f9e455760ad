"""Held connections over real sockets, TLS and processes; and what a machine may run out of."""

import asyncio
import errno
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from failover_world import MemoryProber, VirtualClock, in_virtual_time
from failover_world import endpoint as virtual_endpoint

from needs import needs
from pytest_drdrill.failover import (
    FailoverManager,
    HttpProber,
    MonitoringFailed,
    MonitorShortageError,
    ServiceEndpoint,
)
from pytest_drdrill.failover import held as held_module
from pytest_drdrill.failover.held import hold_connection
from pytest_drdrill.failover.names import NameResolver
from pytest_drdrill.failover.shortage import refuse_shortage
from pytest_drdrill.failover.turns import Turnstile


def serve():
    async def answer(_):
        return web.Response()

    app = web.Application()
    app.router.add_get("/health", answer)
    return TestServer(app)


async def hold(endpoint, held=lambda: None):
    return await hold_connection(endpoint, held, NameResolver().addresses)


async def held(endpoint):
    """A task that holds a connection, once that stands."""
    stands = asyncio.Event()
    task = asyncio.create_task(hold(endpoint, stands.set))
    async with asyncio.timeout(30):
        await stands.wait()
    return task


@pytest.mark.asyncio
async def test_a_connection_is_lost_with_its_process_and_not_while_that_hangs(processes):
    process, url = processes()
    task = await held(ServiceEndpoint("a", url))
    os.kill(process.pid, signal.SIGSTOP)
    done, _ = await asyncio.wait([task], timeout=0.3)
    assert not done  # nothing tells of it
    os.kill(process.pid, signal.SIGKILL)
    async with asyncio.timeout(30):
        how = await task
    assert how in ("the endpoint closed the connection", "[Errno 104] Connection reset by peer")


@pytest.mark.asyncio
async def test_an_end_and_a_reset_are_told_apart_and_what_is_said_is_of_no_interest():
    async def talk(reader, writer):
        writer.write(b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n")
        await writer.drain()
        if endings.pop(0) == "reset":
            unset = b"\x01\x00\x00\x00\x00\x00\x00\x00"  # SO_LINGER of no time: a reset
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, unset)
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    endpoint = ServiceEndpoint("a", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    endings, found = ["end", "reset"], []
    async with asyncio.timeout(30):
        while endings:
            found.append(await hold(endpoint))
    server.close()
    assert found[0] == "the endpoint closed the connection"
    assert "reset" in found[1]


@pytest.mark.asyncio
async def test_what_takes_no_connection_is_an_os_error():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        for address in (f"http://127.0.0.1:{port}", f"https://127.0.0.1:{port}"):
            with pytest.raises(OSError, match="Connect call failed"):
                await hold(ServiceEndpoint("a", address))
    for host in ("standby..internal", "x" * 64 + ".internal"):
        with pytest.raises(OSError, match=r"can't be encoded|not known|resolution|No address"):
            await hold(ServiceEndpoint("a", f"http://{host}"))


@pytest.fixture
def certificate(tmp_path, monkeypatch):
    """A certificate of 127.0.0.1 and of a name, which this process trusts."""
    pem = tmp_path / "both.pem"
    command = [needs("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt"]
    command += ["ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=drill"]
    names = "subjectAltName=IP:127.0.0.1,DNS:primary.drill.test"
    command += ["-addext", names, "-addext"]
    command += ["keyUsage=digitalSignature,keyCertSign", "-keyout", pem, "-out", f"{pem}.crt"]
    subprocess.run(command, check=True, capture_output=True)
    pem.write_text(pem.read_text() + (tmp_path / "both.pem.crt").read_text())
    monkeypatch.setenv("SSL_CERT_FILE", f"{pem}.crt")
    held_module._context.cache_clear()
    yield pem
    held_module._context.cache_clear()


@pytest.mark.asyncio
async def test_a_connection_over_tls_is_verified_and_held(certificate, monkeypatch):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    writers = []
    server = await asyncio.start_server(
        lambda _, writer: writers.append(writer), "127.0.0.1", 0, ssl=context
    )
    endpoint = ServiceEndpoint("a", f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    task = await held(endpoint)
    async with asyncio.timeout(30):
        while not writers:  # noqa: ASYNC110 - polled
            await asyncio.sleep(0.01)
    writers[0].close()
    async with asyncio.timeout(30):
        assert await task == "the endpoint closed the connection"
    monkeypatch.delenv("SSL_CERT_FILE")
    held_module._context.cache_clear()
    with pytest.raises(ssl.SSLCertVerificationError):
        await hold(endpoint)
    server.close()


@pytest.fixture
def named(monkeypatch):
    """Names under drill.test, by what their look-ups do: an answer, or what is to be called."""
    names, look_up = {}, socket.getaddrinfo

    def getaddrinfo(host, *args, **kwargs):
        if not str(host).endswith(".drill.test"):
            return look_up(host, *args, **kwargs)
        found = names[host]() if callable(names[host]) else names[host]
        return [each for ip in found for each in look_up(ip, *args, **kwargs)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return names


@pytest.mark.asyncio
async def test_a_connection_to_a_name_is_verified_by_that_name(certificate, named):
    named["primary.drill.test"] = named["standby.drill.test"] = ["127.0.0.1"]
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    asked = []
    context.sni_callback = lambda _, name, __: asked.append(name)
    server = await asyncio.start_server(
        lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context
    )
    port = server.sockets[0].getsockname()[1]
    async with asyncio.timeout(30):
        await hold(ServiceEndpoint("a", f"https://primary.drill.test:{port}"))
        with pytest.raises(ssl.SSLCertVerificationError, match=r"standby\.drill\.test"):
            await hold(ServiceEndpoint("b", f"https://standby.drill.test:{port}"))
    assert asked == ["primary.drill.test", "standby.drill.test"]
    server.close()


@pytest.mark.asyncio
async def test_a_name_with_several_addresses_is_held_at_the_first_that_takes_it(named):
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.2", 0)
    port = server.sockets[0].getsockname()[1]
    endpoint = ServiceEndpoint("a", f"http://several.drill.test:{port}")
    named["several.drill.test"] = ["127.0.0.1", "127.0.0.2"]
    async with asyncio.timeout(30):
        assert await hold(endpoint) == "the endpoint closed the connection"
    server.close()
    await server.wait_closed()
    with pytest.raises(OSError, match=r"127\.0\.0\.2"):
        await hold(endpoint)
    named["several.drill.test"] = []
    with pytest.raises(OSError, match=r"several\.drill\.test has no address"):
        await hold(endpoint)


@pytest.mark.asyncio
async def test_a_process_that_is_killed_is_noticed_long_before_its_next_check(processes):
    (primary, primary_url), (_, standby_url) = processes(), processes()
    manager = FailoverManager(
        [ServiceEndpoint("primary", primary_url), ServiceEndpoint("standby", standby_url)],
        check_interval="1h",
        fast_interval="10ms",
        watch=True,
    )
    async with manager:
        async with asyncio.timeout(30):
            while sum(each is not None for each in map(_since, manager._watched)) < 2:  # noqa: ASYNC110 - polled
                await asyncio.sleep(0.01)
        os.kill(primary.pid, signal.SIGKILL)
        await manager.wait_until_active("standby", timeout="60s")
    kinds = [each.kind for each in manager.events if each.endpoint == "primary"]
    assert kinds == ["endpoint_healthy", "connection_lost", "endpoint_unhealthy"]


def _since(watched):
    return watched.watch._since


@pytest.mark.asyncio
async def test_a_server_that_takes_no_idle_connection_is_not_watched_and_stays_healthy():
    served = []

    async def talk(reader, writer):
        served.append(writer)
        try:
            async with asyncio.timeout(0.05):
                await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        except (TimeoutError, asyncio.IncompleteReadError):
            pass
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    left = asyncio.Event()

    def on_event(event):
        if event.kind == "endpoint_unwatched":
            left.set()

    endpoints = [ServiceEndpoint("a", url, timeout="30s")]
    manager = FailoverManager(endpoints, check_interval="1h", watch=True, on_event=on_event)
    async with manager, asyncio.timeout(60):
        await left.wait()
    server.close()
    kinds = {each.kind for each in manager.events}
    assert not kinds & {"endpoint_unhealthy", "failover", "no_healthy_endpoint"}


def test_a_loop_that_ends_right_after_the_stop_has_nothing_to_complain_about(processes):
    _, url = processes()
    code = f"""
import asyncio
from pytest_drdrill.failover import FailoverManager, ServiceEndpoint
async def main():
    async with FailoverManager([ServiceEndpoint("a", "{url}")], watch=True) as manager:
        async with asyncio.timeout(30):
            while manager._watched[0].watch._since is None:
                await asyncio.sleep(0.01)
asyncio.run(main(), debug=True)
"""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error::ResourceWarning", "-c", code],
        check=True,
        timeout=60,
        capture_output=True,
        text=True,
    )
    assert "Warning" not in done.stderr
    assert "Unclosed" not in done.stderr
    assert "Traceback" not in done.stderr


# What is nobody's fault but the monitor's.


@pytest.mark.parametrize("watch", [False, True])
def test_a_monitor_that_runs_out_of_descriptors_says_so_and_blames_no_endpoint(processes, watch):
    _, url = processes()
    code = f"""
import asyncio, os, resource
import aiohttp
from pytest_drdrill.failover import FailoverManager, MonitoringFailed, ServiceEndpoint
async def main():
    endpoints = [ServiceEndpoint(f"e{{n}}", "{url}", timeout="30s") for n in range(40)]
    manager = FailoverManager(endpoints, 1, "30s", watch={watch})
    used = len(os.listdir("/proc/self/fd"))
    # Enough for the checks, not for the connections beside them; or not even for the checks.
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + ({watch} and 60 or 20),) * 2)
    try:
        async with manager:
            await asyncio.sleep(30)
    except MonitoringFailed as failure:
        print(failure)
    print(sorted({{event.kind for event in manager.events}}))
asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, timeout=60, capture_output=True, text=True
    )
    said, kinds = done.stdout.splitlines()
    assert said.startswith(
        "the failover monitor broke: this process has no file descriptor left of"
    )
    assert said.endswith(
        "could not be reached; raise the limit, as with 'ulimit -n', or check fewer endpoints"
    )
    assert "endpoint_unhealthy" not in kinds
    assert "monitoring_failed" in kinds
    assert done.stderr == ""


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_any_probers_shortage_is_no_verdict(number):
    class Short(MemoryProber):
        async def probe(self, endpoint):
            raise OSError(number, os.strerror(number))

    manager = FailoverManager([virtual_endpoint("a")], 1, prober=Short(), clock=VirtualClock())

    async def main():
        async with manager:
            await asyncio.sleep(100)

    with pytest.raises(MonitoringFailed, match=r"left.*'a' could not be reached") as failure:
        in_virtual_time(main)
    assert isinstance(failure.value.__cause__, MonitorShortageError)
    assert "endpoint_unhealthy" not in [each.kind for each in manager.events]


@pytest.mark.asyncio
async def test_a_look_up_without_a_descriptor_is_no_verdict(monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    prober = HttpProber()
    await prober.open()
    endpoint = ServiceEndpoint("a", "http://nowhere.invalid")
    assert not (await prober.probe(endpoint)).healthy

    def none_left(*_):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("pytest_drdrill.failover.shortage.os.open", none_left)
    with pytest.raises(MonitorShortageError, match="no file descriptor left"):
        await prober.probe(endpoint)
    several = OSError("Multiple exceptions: [Errno 111] Refused, [Errno 24] Too many open files")
    with pytest.raises(MonitorShortageError, match="'b' could not be reached"):
        refuse_shortage(several, "b")
    refuse_shortage(ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), "b")
    monkeypatch.undo()
    refuse_shortage(several, "b")  # there are some, so it is the endpoint's
    await prober.close()


@pytest.mark.asyncio
async def test_names_that_nobody_answers_for_keep_no_other_waiting(monkeypatch):
    unanswered, look_up, begun = threading.Event(), socket.getaddrinfo, []

    def slow(host, *args, **kwargs):
        if host.endswith(".invalid"):
            begun.append(host)
            unanswered.wait(30)
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return look_up(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    prober = HttpProber()
    await prober.open()
    async with serve() as server:
        hanging = [
            asyncio.create_task(prober.probe(ServiceEndpoint("x", f"http://n{number}.invalid")))
            for number in range(40)
        ]
        asked = ServiceEndpoint("a", f"http://localhost:{server.port}")
        async with asyncio.timeout(20):
            while len(begun) < len(hanging):  # noqa: ASYNC110 - polled
                await asyncio.sleep(0.01)
            assert (await prober.probe(asked)).healthy
        assert not any(each.done() for each in hanging)
        unanswered.set()
        assert not any(each.healthy for each in await asyncio.gather(*hanging))
        await prober.close()


@pytest.mark.asyncio
async def test_so_many_look_ups_run_at_once_whoever_has_given_them_up(named, monkeypatch):
    monkeypatch.setattr("pytest_drdrill.failover.names._MOST", 2)
    answered, begun = threading.Event(), []

    def hang():
        begun.append(threading.current_thread())
        answered.wait(30)
        return ["127.0.0.1"]

    named["slow.drill.test"] = hang
    resolver = NameResolver()
    tasks = [asyncio.create_task(resolver.addresses("slow.drill.test")) for _ in range(4)]
    async with asyncio.timeout(20):
        while len(begun) < 2:  # noqa: ASYNC110 - polled
            await asyncio.sleep(0.01)
        assert await resolver.addresses("::1") == ["::1"]  # no name
        for task in tasks[:2]:
            task.cancel()
        done, _ = await asyncio.wait(tasks, timeout=0.1)
        assert done == set(tasks[:2])
        assert len(begun) == 2
        answered.set()
        assert await asyncio.gather(*tasks[2:]) == [["127.0.0.1"]] * 2
    assert len(begun) == 4
    assert all(each.daemon for each in begun)


@pytest.mark.parametrize(("answered", "timeout"), [(0, "200ms"), (1, "30s")])
def test_a_look_up_that_hangs_holds_up_no_end(processes, answered, timeout):
    _, url = processes()
    code = f"""
import asyncio, socket, threading
from pytest_drdrill.failover import FailoverManager, ServiceEndpoint
look_up, calls, hangs = socket.getaddrinfo, [], threading.Event()
def getaddrinfo(host, *args, **kwargs):
    if host == "primary.test":
        calls.append(host)
        if len(calls) > {answered}:
            hangs.set()
            threading.Event().wait()
        host = "127.0.0.1"
    return look_up(host, *args, **kwargs)
socket.getaddrinfo = getaddrinfo
async def main():
    url = "{url}".replace("127.0.0.1", "primary.test")
    endpoints = [ServiceEndpoint("a", url, timeout="{timeout}")]
    async with FailoverManager(endpoints, check_interval="30s", watch=True):
        async with asyncio.timeout(30):
            while not hangs.is_set():
                await asyncio.sleep(0.01)
asyncio.run(main())
print("ended")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, timeout=60, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("ended\n", "")


# Turns.


class Counted:
    """A turnstile, and who came through in which turn of a loop."""

    def __init__(self, in_each_turn):
        self.turnstile = Turnstile(in_each_turn)
        self.turn = 0
        self.seen = []

    async def come(self, name):
        await self.turnstile.come_through()
        self.seen.append((self.turn, name))

    async def count(self):
        while True:
            self.turn += 1
            await asyncio.sleep(0)


def test_so_many_begin_in_each_turn_of_the_loop_and_in_order():
    async def main():
        counted = Counted(4)
        counting = asyncio.create_task(counted.count())
        tasks = [asyncio.create_task(counted.come(name)) for name in range(30)]
        await asyncio.wait(tasks)
        counting.cancel()
        return counted.seen

    seen = in_virtual_time(main)
    assert [name for _, name in seen] == list(range(30))
    turns = [turn for turn, _ in seen]
    assert all(turns.count(each) <= 4 for each in turns)
    assert turns[-1] >= 30 / 4


def test_whoever_is_gone_takes_no_turn_and_keeps_nobody_waiting():
    async def main():
        counted = Counted(2)
        tasks = [asyncio.create_task(counted.come(name)) for name in range(9)]
        await asyncio.sleep(0)
        for task in tasks[2:7]:
            task.cancel()
        counting = asyncio.create_task(counted.count())
        await asyncio.wait(tasks)
        counting.cancel()
        await asyncio.sleep(1)
        await counted.come("late")
        return counted.seen

    seen = in_virtual_time(main)
    assert [name for _, name in seen] == [0, 1, 7, 8, "late"]
    assert seen[2][0] == seen[3][0]


def test_waiting_for_a_turn_is_none_of_the_endpoints_time():
    class Busy(MemoryProber):
        async def take_turn(self):
            await asyncio.sleep(7)

    prober = Busy(latency=3.0)
    manager = FailoverManager(
        [virtual_endpoint("a")], 1, "10s", prober=prober, clock=VirtualClock()
    )

    async def main():
        async with manager:
            await asyncio.sleep(60)

    in_virtual_time(main)
    # Each is answered in 3 s of 5, after 7 that were ours.
    assert prober.starts_of("a") == [7, 17, 27, 37, 47, 57, 67]
    assert [each.kind for each in manager.events if each.endpoint] == ["endpoint_healthy"]
