"""What a client and a server see of each fault: real sockets, real time."""

import asyncio
import random
import re
import select
import socket
import time
from datetime import timedelta

import pytest
from proxy_site import (
    PATIENCE_S,
    SILENCE_S,
    is_refused,
    is_reset,
    is_reset_at_once,
    is_silent,
    passes,
    received,
    reset,
    site,
    until,
)

from pytest_drdrill import FaultError, FaultProxy, UndoStack
from pytest_drdrill.live.line import Condition, Line

__all__ = ["site"]

BOTH_WAYS = {"to_server": (0, 1), "to_client": (1, 0)}


def round_trip(client, served):
    began = time.monotonic()
    passes(client, served)
    passes(served, client)
    return time.monotonic() - began


def test_latency_delays_each_way(site):
    pair = site.pair()
    with site.proxy.latency("60ms"):
        assert round_trip(*pair) >= 0.12
    began = time.monotonic()
    with site.proxy.latency(timedelta(milliseconds=60), direction="to_client"):
        assert round_trip(*pair) >= 0.06
    assert time.monotonic() - began < PATIENCE_S


@pytest.mark.parametrize("direction", BOTH_WAYS)
def test_latency_of_one_direction_leaves_the_other_alone(site, direction):
    pair = site.pair()
    source, target = (pair[index] for index in BOTH_WAYS[direction])
    site.proxy.latency("1h", direction=direction)
    source.sendall(b"late")
    assert is_silent(target)
    passes(target, source)


def test_latencies_add_up_and_are_undone_in_any_order(site):
    pair = site.pair()
    first, second = site.proxy.latency("40ms"), site.proxy.latency("50ms")
    assert round_trip(*pair) >= 0.18
    first.undo()
    assert round_trip(*pair) >= 0.1
    site.proxy.latency("1h")
    second.undo()
    pair[0].sendall(b"x")
    assert is_silent(pair[1])


def test_jitter_overtakes_nothing(site):
    client, served = site.pair()
    site.proxy.latency("15ms", jitter="15ms", direction="to_server")
    sent = bytes(range(256))
    for byte in sent:
        client.sendall(bytes([byte]))
        time.sleep(0.0002)  # so that most are read apart, and drawn for
    assert received(served, len(sent)) == sent


def test_jitter_is_evenly_spread_around_the_latency_by_its_seed():
    line = Line(asyncio.SelectorEventLoop())
    line.tell("first", Condition(delay=0.03, jitter=0.02))
    line.tell("second", Condition(delay=0.1))
    drawn = [line.draw(random.Random(7)) for _ in range(2)]
    assert drawn[0] == drawn[1]
    chance = random.Random(7)
    drawn = sorted(line.draw(chance) for _ in range(1000))
    assert 0.11 <= drawn[0] < 0.112
    assert 0.128 < drawn[500] < 0.132
    assert 0.148 < drawn[-1] <= 0.15
    line.lift("first")
    assert line.draw(chance) == 0.1
    line._loop.close()


def test_what_is_under_way_when_latency_ends_does_not_wait_for_it(site):
    client, served = site.pair()
    with site.proxy.latency("1h"):
        client.sendall(b"sent while slow")
        assert is_silent(served)
    assert received(served, 15) == b"sent while slow"
    assert all(timer.cancelled() for timer in site.proxy._relay._loop._scheduled)
    assert round_trip(client, served) < PATIENCE_S


def test_bandwidth_bounds_what_passes(site):
    client, served = site.pair()
    size = 40_000
    with site.proxy.bandwidth("200kB/s", direction="to_server"):
        began = time.monotonic()
        client.sendall(b"x" * size)
        assert len(received(served, size)) == size
        assert time.monotonic() - began >= 0.19  # of 0.2; timers may be early by their resolution
        passes(served, client)
    passes(client, served, b"x" * 1_000_000)


def test_bandwidth_is_shared_by_connections_in_turns(site):
    first, second = site.pair(), site.pair()
    size = 20_000
    site.proxy.bandwidth("1Mbit/s", direction="to_server")  # 125 kB/s
    began = time.monotonic()
    first[0].sendall(b"x" * size)
    second[0].sendall(b"y" * 100)
    assert received(second[1], 100) == b"y" * 100  # not behind all of the other one's
    if select.select([first[1]], [], [], 0)[0]:
        assert len(first[1].recv(size, socket.MSG_PEEK)) < size
    assert len(received(first[1], size)) == size
    assert time.monotonic() - began >= 0.95 * (size + 100) / 125_000


def test_smallest_bandwidth_decides(site):
    client, served = site.pair()
    site.proxy.bandwidth("100MB/s")
    narrow = site.proxy.bandwidth("1B/s")
    client.sendall(b"x" * 3600)
    assert is_silent(served)
    narrow.undo()
    assert len(received(served, 3600)) == 3600


@pytest.mark.parametrize("direction", BOTH_WAYS)
def test_blackhole_of_one_direction_holds_back_and_gives_late(site, direction):
    pair = site.pair()
    source, target = (pair[index] for index in BOTH_WAYS[direction])
    with site.proxy.blackhole(direction=direction):
        source.sendall(b"held ")
        source.sendall(b"back")
        assert is_silent(target)
        passes(target, source)
    assert received(target, 9) == b"held back"


def test_blackhole_is_silent_both_ways_and_heals(site):
    client, served = site.pair()
    with site.proxy.blackhole():
        client.sendall(b"question")
        served.sendall(b"answer")
        assert is_silent(client)
        assert is_silent(served)
    assert received(served, 8) == b"question"
    assert received(client, 6) == b"answer"


def test_senders_into_a_blackhole_wait_once_buffers_are_full(site):
    client, served = site.pair()
    fault = site.proxy.blackhole()
    client.setblocking(False)
    sent = 0
    while select.select([], [client], [], SILENCE_S)[1]:
        sent += client.send(b"x" * 65536)
        assert sent < 1 << 27
    (link,) = site.proxy._relay.links
    assert link.client.out._held == 0  # it is the kernel's buffers that are full
    fault.undo()
    client.settimeout(PATIENCE_S)
    client.shutdown(socket.SHUT_WR)
    got = 0
    while part := served.recv(1 << 20):
        got += len(part)
    assert got == sent


def test_what_is_under_way_when_a_blackhole_begins_is_held_back(site):
    client, served = site.pair()
    site.proxy.latency("100ms")
    client.sendall(b"under way")
    (link,) = site.proxy._relay.links
    until(lambda: link.client.out._parcels)
    with site.proxy.blackhole(direction="to_server"):
        assert is_silent(served, 0.15)
    assert received(served, 9) == b"under way"


@pytest.mark.parametrize("how", ["end", "reset"])
def test_what_is_closed_in_a_blackhole_is_heard_of_when_it_heals(site, how):
    client, served = site.pair()
    with site.proxy.blackhole(direction="to_server"):
        if how == "end":
            client.close()
        else:
            reset(client)
        assert is_silent(served)
    assert is_reset(served) if how == "reset" else served.recv(1) == b""


@pytest.mark.skipif(not hasattr(socket, "TCP_INFO"), reason="only Linux drops what asks to connect")
@pytest.mark.parametrize("direction", ["both", *BOTH_WAYS])
def test_nobody_connects_into_a_blackhole(site, direction):
    with site.proxy.blackhole(direction=direction):
        with socket.socket() as client:
            client.settimeout(0.1)
            with pytest.raises(TimeoutError):
                client.connect(site.at)
        patient = socket.socket()
        patient.setblocking(False)
        patient.connect_ex(site.at)
    with patient:  # which asks again by itself
        assert select.select([], [patient], [], PATIENCE_S)[1]
        patient.settimeout(PATIENCE_S)
        passes(patient, site.accept())
    assert site.proxy.accepted == 1
    site.pair()


def test_latency_stays_while_a_blackhole_comes_and_goes(site):
    pair = site.pair()
    site.proxy.latency("50ms")
    hole = site.proxy.blackhole()
    again = site.proxy.blackhole(direction="to_client")
    hole.undo()
    passes(*pair)
    pair[1].sendall(b"answer")
    assert is_silent(pair[0])
    again.undo()
    assert received(pair[0], 6) == b"answer"
    assert round_trip(*pair) >= 0.1


def test_reset_breaks_open_connections_and_no_new_ones(site):
    pairs = [site.pair(), site.pair()]
    fault = site.proxy.reset()
    fault.undo()
    for end in (*pairs[0], *pairs[1]):
        assert is_reset(end)
    site.pair()


def test_reset_of_new_connections_until_undone(site):
    client, served = site.pair()
    with site.proxy.reset(new=True):
        assert is_reset(client)
        assert is_reset(served)
        for _ in range(2):
            assert is_reset_at_once(site.at)
    site.pair()
    with site.proxy.reset(new=True), site.proxy.reset(new=True):
        pass
    site.pair()


def test_refuse_leaves_open_connections_alone(site):
    pair = site.pair()
    with site.proxy.refuse():
        with site.proxy.refuse():
            assert is_refused(site.at)
        assert is_refused(site.at)
        assert round_trip(*pair) < PATIENCE_S
    site.pair()


def test_port_stays_the_proxys_while_it_refuses(site):
    with site.proxy.refuse(), socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(site.at)
    site.pair()


def test_refusal_that_can_not_be_undone_says_so(site):
    fault = site.proxy.refuse()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(site.at)
        other.listen()
        with pytest.raises(FaultError, match=rf"port {site.proxy.port} of 127\.0\.0\.1 is taken"):
            fault.undo()


def test_blackhole_is_silent_about_a_refusal(site):
    with site.proxy.refuse():
        with site.proxy.blackhole(), socket.socket() as client:
            client.settimeout(0.1)
            with pytest.raises(TimeoutError):
                client.connect(site.at)
        assert is_refused(site.at)
    with site.proxy.blackhole():
        site.proxy.refuse().undo()
    site.pair()


@pytest.mark.parametrize("lost_by", ["server", "client"])
def test_half_open_is_known_to_one_end_only(site, lost_by):
    pair = site.pair()
    lost, believer = pair[::-1] if lost_by == "server" else pair
    with site.proxy.half_open(lost_by=lost_by):
        assert is_reset(lost)
        believer.sendall(b"into the void")
        assert is_silent(believer)
        other = site.pair()
    assert is_reset(believer)
    assert round_trip(*other) < PATIENCE_S


def test_half_open_connection_that_its_believer_closes_is_gone(site):
    client, served = site.pair()
    fault = site.proxy.half_open()
    assert is_reset(served)
    client.shutdown(socket.SHUT_WR)
    assert client.recv(1) == b""
    fault.undo()
    assert site.proxy.connections == 0


def test_data_under_way_is_lost_by_half_open_and_memory_is_not(site):
    client, served = site.pair()
    site.proxy.latency("1h")
    client.sendall(b"under way")
    assert is_silent(served)
    site.proxy.half_open()
    for _ in range(64):
        client.sendall(b"x" * 262_144)  # 16 MiB, which go nowhere
    assert is_reset(served)


@pytest.mark.parametrize("fault", ["reset", "half_open"])
def test_nothing_to_break_is_said(site, fault):
    with pytest.raises(FaultError, match="no connection is open through the proxy"):
        getattr(site.proxy, fault)()
    assert site.told == []


def test_each_fault_is_told_as_it_strikes_and_is_undone(site):
    site.pair()
    to = f", through the proxy 127.0.0.1:{site.proxy.port} to 127.0.0.1:{site.server_port}"
    with site.proxy.latency("50ms", jitter="10ms"), site.proxy.bandwidth("1MB/s"):
        site.proxy.blackhole(direction="to_client").undo()
    site.proxy.refuse().undo()
    site.proxy.half_open().undo()
    whats = [
        ("fault", "latency of 50ms ± 10ms"),
        ("fault", "bandwidth of 1MB/s"),
        ("fault", "blackhole to the client"),
        ("fault undone", "blackhole to the client"),
        ("fault undone", "bandwidth of 1MB/s"),
        ("fault undone", "latency of 50ms ± 10ms"),
        ("fault", "refusal of new connections"),
        ("fault undone", "refusal of new connections"),
        ("fault", "open connections lost by the server alone"),
        ("fault undone", "open connections lost by the server alone"),
    ]
    assert site.told == [(event, what + to) for event, what in whats]


def test_faults_are_undone_with_their_stack(site):
    stack = UndoStack()
    with FaultProxy("127.0.0.1", site.server_port, stack=stack) as proxy:
        proxy.latency("1h")
        proxy.refuse()
        proxy.blackhole()
        stack.undo_all()
        site.proxy = proxy
        site.pair()


BAD = [
    (lambda proxy: proxy.latency(0.05), TypeError, "delay: 0.05 has no unit"),
    (lambda proxy: proxy.latency("soon"), ValueError, "delay: 'soon' is no duration"),
    (lambda proxy: proxy.latency("0s"), ValueError, "a latency of 0s is none"),
    (lambda proxy: proxy.latency("1s", jitter=1), TypeError, "jitter: 1 has no unit"),
    (
        lambda proxy: proxy.latency("10ms", jitter="20ms"),
        ValueError,
        "the jitter, '20ms', is more than the latency, '10ms'",
    ),
    (
        lambda proxy: proxy.latency("1s", direction="up"),
        ValueError,
        "direction must be one of 'both', 'to_server', 'to_client', not 'up'",
    ),
    (lambda proxy: proxy.blackhole(direction=[]), ValueError, "direction must be one of"),
    (lambda proxy: proxy.bandwidth(1_000_000), TypeError, "1000000 is no bandwidth; write"),
    (lambda proxy: proxy.bandwidth("1Mb/s"), ValueError, "'1Mb/s' is no bandwidth; write"),
    (lambda proxy: proxy.bandwidth("0MB/s"), ValueError, "lets nothing pass, which is a black"),
    (lambda proxy: proxy.bandwidth("9999TB/s"), ValueError, "is no bandwidth"),
    (lambda proxy: proxy.bandwidth("999999GB/s"), ValueError, "is out of range"),
    (
        lambda proxy: proxy.half_open(lost_by="nobody"),
        ValueError,
        "lost_by must be 'server' or 'client', not 'nobody'",
    ),
]


@pytest.mark.parametrize(("strike", "kind", "message"), BAD)
def test_bad_arguments_are_refused_before_anything_happens(site, strike, kind, message):
    pair = site.pair()
    with pytest.raises(kind, match=re.escape(message)):
        strike(site.proxy)
    assert site.told == []
    assert round_trip(*pair) < PATIENCE_S


@pytest.mark.parametrize(
    ("rate", "bytes_a_second"),
    [
        ("1B/s", 1),
        ("1.5kB/s", 1500),
        ("64KiB/s", 65_536),
        (" 2 MB/s ", 2_000_000),
        ("1GiB/s", 1 << 30),
        ("8bit/s", 1),
        ("10Mbit/s", 1_250_000),
        ("1Gbit/s", 125_000_000),
    ],
)
def test_bandwidths_are_read_with_their_unit(rate, bytes_a_second):
    from pytest_drdrill.live.rates import parse_rate

    assert parse_rate(rate) == bytes_a_second


@pytest.mark.parametrize("fault", ["latency", "bandwidth", "blackhole", "reset", "refuse"])
def test_proxy_that_does_not_run_breaks_nothing(fault):
    proxy = FaultProxy("127.0.0.1", 5432)
    arguments = {"latency": ["1s"], "bandwidth": ["1MB/s"]}.get(fault, [])
    for _ in range(2):
        with pytest.raises(FaultError, match=r"the proxy to 127\.0\.0\.1:5432 does not run"):
            getattr(proxy, fault)(*arguments)
        with proxy:
            pass
