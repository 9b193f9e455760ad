"""What goes through a proxy arrives whole and in order, whatever the network is like meanwhile."""

import asyncio
import random
import select
import socket
import time
from contextlib import ExitStack

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from proxy_site import (
    PATIENCE_S,
    Site,
    is_reset,
    is_silent,
    passes,
    received,
    reset,
    site,
    until,
)

from pytest_drdrill.live.line import LONG_WINDOW

__all__ = ["site"]

DIRECTIONS = st.sampled_from(["both", "to_server", "to_client"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(0, 1), st.integers(1, 150_000)),
        st.tuples(st.just("end"), st.integers(0, 1)),
        st.tuples(st.just("read"), st.integers(0, 1)),
        st.tuples(st.just("latency"), st.integers(1, 15), st.integers(0, 1), DIRECTIONS),
        st.tuples(
            st.just("bandwidth"),
            st.sampled_from(["30kB/s", "1MB/s", "40MB/s", "10GB/s"]),
            DIRECTIONS,
        ),
        st.tuples(st.just("blackhole"), DIRECTIONS),
        st.tuples(st.just("undo"), st.integers(0, 9)),
    ),
    max_size=14,
)


class Conversation:
    """Two ends, what each has to send, what each has received, and the faults between them."""

    def __init__(self, site):
        self.proxy = site.proxy
        self.faults = []
        self.chance = random.Random(7)
        self.ends = site.pair()
        self.to_send = [bytearray(), bytearray()]
        self.sent = [bytearray(), bytearray()]
        self.got = [bytearray(), bytearray()]
        self.ending, self.ended, self.heard = ([False, False] for _ in range(3))
        for sock in self.ends:
            sock.setblocking(False)

    def send(self, index, size):
        if not self.ending[index]:
            data = self.chance.randbytes(size)
            self.to_send[index] += data
            self.sent[index] += data
            self.push(index)

    def end(self, index):
        self.ending[index] = True
        self.push(index)

    def read(self, index):
        select.select([self.ends[index]], [], [], 0.002)
        self.pull(index)

    def latency(self, delay, jittered, direction):
        jitter = f"{delay * jittered}ms"
        self.faults.append(self.proxy.latency(f"{delay}ms", jitter=jitter, direction=direction))

    def bandwidth(self, rate, direction):
        self.faults.append(self.proxy.bandwidth(rate, direction=direction))

    def blackhole(self, direction):
        self.faults.append(self.proxy.blackhole(direction=direction))

    def undo(self, number):
        if self.faults:
            self.faults.pop(number % len(self.faults)).undo()

    def undo_all(self):
        while self.faults:
            self.faults.pop().undo()

    def push(self, index):
        queue = self.to_send[index]
        try:
            while queue:
                del queue[: self.ends[index].send(queue[:65536])]
        except BlockingIOError:
            return
        if self.ending[index] and not self.ended[index]:
            self.ended[index] = True
            self.ends[index].shutdown(socket.SHUT_WR)

    def pull(self, index):
        try:
            while part := self.ends[index].recv(65536):
                self.got[index] += part
        except BlockingIOError:
            return
        self.heard[index] = True

    def finish(self):
        self.ending = [True, True]
        end = time.monotonic() + PATIENCE_S
        while not all(self.heard):
            assert time.monotonic() < end, "something never arrived"
            writers = [self.ends[n] for n in (0, 1) if not self.ended[n]]
            readers = [self.ends[n] for n in (0, 1) if not self.heard[n]]
            select.select(readers, writers, [], 1)
            for index in (0, 1):
                self.push(index)
                self.pull(index)


@pytest.fixture(scope="module")
def long_lived():
    with ExitStack() as stack:
        yield Site(stack)


@settings(max_examples=60)
@given(STEPS, st.booleans())
@example([("bandwidth", "1MB/s", "both"), ("send", 0, 90_000), ("end", 0), ("undo", 0)], True)
@example([("latency", 9, 1, "both"), ("send", 1, 500), ("end", 1), ("send", 0, 5000)], False)
def test_any_stream_arrives_whole_and_in_order(long_lived, steps, undone):
    talk = Conversation(long_lived)
    try:
        for what, *details in steps:
            getattr(talk, what)(*details)
        names = {step[0] for step in steps}
        if undone or "blackhole" in names or "30kB/s" in str(steps):  # which would take for ever
            talk.undo_all()
        talk.finish()
    finally:
        talk.undo_all()
    assert talk.got[1] == talk.sent[0]
    assert talk.got[0] == talk.sent[1]
    for sock in talk.ends:
        sock.close()


def test_half_close_is_passed_on_and_the_other_direction_goes_on(site):
    client, served = site.pair()
    client.sendall(b"the whole question")
    client.shutdown(socket.SHUT_WR)
    assert received(served, 1000) == b"the whole question"
    for _ in range(3):
        passes(served, client, b"x" * 100_000)
    assert site.proxy.connections == 1
    served.shutdown(socket.SHUT_WR)
    assert client.recv(1) == b""


def test_both_ends_closed_is_a_connection_less(site):
    client, served = site.pair()
    client.close()
    assert served.recv(1) == b""
    served.close()
    until(lambda: site.proxy.connections == 0)
    assert not any(line.ways for line in site.proxy._relay.lines)


@pytest.mark.parametrize("by", [0, 1])
def test_reset_is_passed_on_after_what_was_sent_before(site, by):
    pair = site.pair()
    source, target = pair[by], pair[1 - by]
    with site.proxy.latency("50ms"):
        source.sendall(b"last words")
        reset(source)
        assert received(target, 10) == b"last words"
        assert is_reset(target)
    until(lambda: site.proxy.connections == 0)


def test_end_waits_for_its_turn_behind_data(site):
    client, served = site.pair()
    with site.proxy.bandwidth("100kB/s", direction="to_server"):
        client.sendall(b"x" * 20_000)
        client.close()
        assert len(received(served, 30_000)) == 20_000


@pytest.mark.parametrize("fault", [None, "latency", "bandwidth"])
def test_slow_reader_holds_its_sender_up_within_bounded_memory(site, fault):
    client, served = site.pair()
    if fault == "latency":
        site.proxy.latency("1ms")
    elif fault == "bandwidth":
        site.proxy.bandwidth("1GB/s")
    client.setblocking(False)
    sent = 0
    block = random.Random(7).randbytes(1 << 16)
    while select.select([], [client], [], 1)[1]:  # until nothing moves any more
        sent += client.send(block[sent % len(block) :])
        assert sent < 1 << 27
    (link,) = site.proxy._relay.links
    held = link.client.out._held + link.server.transport.get_write_buffer_size()
    assert held <= LONG_WINDOW + (2 << 20)
    client.setblocking(True)
    client.shutdown(socket.SHUT_WR)
    got = received(served, sent + 1)
    assert len(got) == sent
    assert got == (block * (sent // len(block) + 1))[:sent]


def test_slow_reader_holds_up_nobody_else(site):
    client, served = site.pair()
    client.setblocking(False)
    while select.select([], [client], [], 0.2)[1]:
        client.send(b"x" * (1 << 16))
    client.settimeout(PATIENCE_S)
    passes(served, client)
    site.pair()


def test_sender_into_a_long_line_waits_as_for_a_window(site):
    client, served = site.pair()
    site.proxy.latency("1h", direction="to_server")
    client.setblocking(False)
    sent = 0
    while select.select([], [client], [], 0.5)[1]:
        sent += client.send(b"x" * (1 << 16))
        assert sent < 1 << 27
    assert sent > LONG_WINDOW
    assert is_silent(served)


@pytest.fixture
def open_on(site):
    """Has a connection go on that is half open; until then, its client is kept waiting."""
    relay, gate = site.proxy._relay, asyncio.Event()
    attach = relay._loop.connect_accepted_socket

    async def late(*args):
        await gate.wait()
        return await attach(*args)

    relay._loop.connect_accepted_socket = late
    return lambda: relay.call(gate.set)


def test_server_that_speaks_first_is_heard_however_slow_its_proxy_is(site, open_on):
    client = site.dial()
    site.accept().sendall(b"welcome")
    assert is_silent(client)
    open_on()
    assert received(client, 7) == b"welcome"


def test_blackhole_holds_back_connections_that_are_half_open(site, open_on):
    client = site.dial()
    client.sendall(b"hello")
    served = site.accept()
    with site.proxy.blackhole():
        open_on()
        until(lambda: site.proxy.connections)
        assert is_silent(served)
        (link,) = site.proxy._relay.links
        assert link.client.out._held == 0
    assert received(served, 5) == b"hello"


@pytest.mark.usefixtures("open_on")
def test_half_open_connection_is_reset_at_both_ends(site):
    client, served = site.dial(), site.accept()
    until(lambda: len(site.proxy._relay._loop._transports) == 1)
    site.proxy.reset()
    assert is_reset(client)
    assert is_reset(served)


def test_end_is_heard_once_whatever_happens_to_the_line(site):
    client, _ = site.pair()
    site.proxy.latency("1h")
    client.shutdown(socket.SHUT_WR)
    (link,) = site.proxy._relay.links
    until(lambda: link.client.out._parcels)
    site.proxy.blackhole().undo()
    passes_time(site)
    assert len(link.client.out._parcels) == 1


def test_nothing_is_written_to_an_end_that_is_gone(site, caplog):
    client, served = site.pair()
    site.proxy.latency("1h", direction="to_server")
    client.sendall(b"x")
    (link,) = site.proxy._relay.links
    until(lambda: link.client.out._parcels)
    reset(client)
    until(lambda: link.client.is_lost)
    for _ in range(64):
        served.sendall(b"x" * 262_144)  # 16 MiB, which go nowhere
    passes_time(site)
    assert caplog.records == []


def passes_time(site):
    """The proxy's loop has taken turns."""
    for _ in range(5):
        site.proxy._relay.call(lambda: None)
