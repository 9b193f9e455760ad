"""Simulated disks: full, rotten, and with what was fsynced when the power is gone."""

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_drdrill import SimulatedWorld


@pytest.fixture
def world():
    with SimulatedWorld(seed=4) as world:
        yield world


@pytest.fixture
def host(world):
    return world.hosts("db", boot_time="0s", capacity=100)[0]


def test_what_is_written_is_read_and_what_is_fsynced_outlives_the_power(host):
    disk = host.disk
    disk.write("log", b"one ")
    disk.fsync("log")
    disk.write("log", b"two ")
    disk.write("log", b"O", at=0)
    disk.write("new", b"never seen again")
    assert (disk.read("log"), disk.names()) == (b"One two ", ["log", "new"])
    host.lose_power()
    host.restart()
    assert (disk.read("log"), disk.read("new")) == (b"one ", b"")
    disk.write("log", b"!", at=6)
    assert disk.read("log") == b"one \0\0!"
    disk.replace("log", b"all or nothing")
    host.lose_power()
    host.restart()
    assert disk.read("log") == b"all or nothing"
    assert disk.losses == 2
    disk.remove("log")
    with pytest.raises(FileNotFoundError, match="No such file or directory: 'log'"):
        disk.read("log")


def test_the_death_of_a_process_costs_nothing(world, host):
    (endpoint,) = world.endpoints("db", place=host)
    host.disk.write("log", b"not fsynced")
    endpoint.fail()
    host.pause()
    with pytest.raises(OSError, match="Host is down: 'db'") as caught:
        host.disk.read("log")
    assert caught.value.errno == errno.EHOSTDOWN
    host.resume()
    assert host.disk.read("log") == b"not fsynced"


def test_while_its_host_is_down_nobody_writes(world, host):
    host.disk.write("log", b"x")
    host.lose_power()
    for ask in (host.disk.names, lambda: host.disk.write("log", b"y")):
        with pytest.raises(OSError, match="Host is down"):
            ask()
    assert host.disk.peek("log") == host.disk.peek("none") == b""


def test_a_full_disk_is_the_error_of_a_full_disk(world, host):
    disk = host.disk
    disk.write("a", b"x" * 60)
    with pytest.raises(OSError, match="No space left on device: 'b'") as caught:
        disk.write("b", b"x" * 41)
    assert (caught.value.errno, disk.names(), disk.free) == (errno.ENOSPC, ["a"], 40)
    with pytest.raises(OSError, match="No space left"):
        disk.replace("a", b"x" * 41)  # for a moment both are there
    disk.write("a", b"y" * 60, at=0)  # which takes no more
    disk.fill(leave=3)
    assert disk.free == 3
    with pytest.raises(OSError, match="No space left"):
        disk.write("a", b"1234")
    disk.write("a", b"123")
    disk.empty()
    assert disk.free == 37
    vault = world.disk("vault")
    assert vault.free is None
    with pytest.raises(ValueError, match="vault has no capacity, so nothing fills it"):
        vault.fill()
    with pytest.raises(ValueError, match=r"fill\(leave=50\): 37 bytes of disk of db are free"):
        disk.fill(leave=50)
    assert [each.event for each in world.trace] == ["fills up", "has room again"]


def test_a_fill_that_is_refused_changes_nothing(world):
    disk = world.disk("vault", capacity=100)
    disk.fill(leave=10)
    with pytest.raises(ValueError, match=r"fill\(leave=500\): 100 bytes of vault are free"):
        disk.fill(leave=500)
    assert (disk.free, len(world.trace)) == (10, 1)
    disk.fill(leave=60)  # of what its own files leave, whoever filled it before
    assert disk.free == 60


def test_rot_is_found_by_checksums_and_by_nobody_else(world):
    plain, careful = world.disk("plain"), world.disk("careful", checksums=True)
    for disk in (plain, careful):
        disk.write("a", bytes(50))
        disk.fsync("a")
        disk.write("a", b"!")  # in memory, where nothing rots
        disk.rot("a", bits=3)
    damaged = plain.read("a")
    assert sum(each.bit_count() for each in damaged[:-1]) == 3
    assert damaged[-1:] == b"!"
    with pytest.raises(OSError, match="Input/output error: 'a'") as caught:
        careful.read("a")
    assert caught.value.errno == errno.EIO
    careful.write("a", bytes(51), at=0)  # what is written anew is well
    assert careful.read("a") == bytes(51)
    careful.fsync("a")
    assert careful.read("a") == bytes(51)
    assert [(each.source, each.detail) for each in world.trace] == [
        ("plain", "a, 3 bits"),
        ("careful", "a, 3 bits"),
    ]


def test_rot_comes_when_the_seed_says(world):
    def found(seed):
        with SimulatedWorld(seed) as other:
            disk = other.disk("vault", checksums=True)
            disk.rot_within("30d", "backup")
            disk.rot_at("40d", "none")
            disk.replace("backup", bytes(100))
            for day in range(50):
                try:
                    disk.read("backup")
                except OSError:
                    return day, disk.peek("backup"), len(other.trace)
                other.clock.block(86_400)
            return None

    day, content, _ = found(1)
    assert 0 < day <= 30
    assert content != bytes(100)
    assert found(1) == found(1)
    assert len({found(seed)[0] for seed in range(20)}) > 5
    with pytest.raises(ValueError, match="holds nothing of a file 'x' that is safe and could rot"):
        world.disk("d").rot("x")
    with pytest.raises(ValueError, match="bits that rot are a whole number from 1 on, not 0"):
        world.disk("e").rot_at("1d", "x", bits=0)


def test_of_two_that_rot_the_one_before_the_power_loss_counts_first(world):
    (host,) = world.hosts("h", boot_time="0s")
    host.disk.write("a", bytes(10))
    host.disk.rot_at("1s", "a")  # nothing is safe by then
    host.lose_power_at("2s", keep="prefix")
    host.restart_at("2s")
    world.clock.block(3)
    assert set(host.disk.peek("a")) <= {0}
    assert [each.event for each in world.trace][:2] == ["has nothing to rot", "loses power"]


def test_a_replay_reads_between_two_losses_and_none_of_them_is_skipped(world):
    (east,) = world.regions("east")
    (host,) = world.hosts("db", place=east, boot_time="0s")
    east.serve_from(host, fsync=False)
    seen = []
    host.disk.on_loss(lambda *, lost: seen.append((lost, host.disk.losses)))
    east.lose_at("10s")  # one disaster, told twice
    host.lose_power_at("10s")
    east.restore_at("20s")
    host.restart_at("20s")
    world.clock.block(30)
    assert (host.disk.losses, seen) == (2, [(True, 1), (True, 2)])
    host.disk.write("journal", b"never fsynced")
    host.lose_power()
    host.restart()
    assert (host.disk.losses, host.disk.read("journal")) == (3, b"")


def test_the_seed_says_how_much_of_the_rest_a_disk_keeps():
    def kept(seed):
        with SimulatedWorld(seed) as world:
            (host,) = world.hosts("h", boot_time="0s")
            host.disk.write("a", b"12")
            host.disk.write("a", b"345")
            host.crash()
            return host.disk.peek("a")

    assert {kept(seed) for seed in range(40)} == {b"12345"[:n] for n in range(6)}
    assert kept(7) == kept(7)


OPERATIONS = st.one_of(
    st.tuples(st.just("write"), st.sampled_from("ab"), st.binary(max_size=6)),
    st.tuples(st.just("put"), st.sampled_from("ab"), st.binary(max_size=6), st.integers(0, 8)),
    st.tuples(st.just("fsync"), st.sampled_from("ab")),
    st.tuples(st.just("replace"), st.sampled_from("ab"), st.binary(max_size=6)),
    st.tuples(st.just("lose"), st.sampled_from(["fsynced", "prefix"])),
)


def put(content, at, data):
    content = content.ljust(at, b"\0")
    return content[:at] + data + content[at + len(data) :]


@given(st.lists(OPERATIONS, max_size=12), st.integers(0, 5))
def test_power_loss_keeps_what_was_fsynced_and_a_prefix_of_the_rest_if_asked(operations, seed):
    with SimulatedWorld(seed) as world:
        (host,) = world.hosts("h", boot_time="0s")
        disk = host.disk
        safe, since = {}, {}  # by file: what was safe, and each state that a byte more led to
        for what, *details in operations:
            if what == "lose":
                host.lose_power(*details)
                host.restart()
                for name, steps in since.items():
                    found = disk.read(name)
                    assert found in [safe.get(name, b""), *(steps if details == ["prefix"] else [])]
                    safe[name], since[name] = found, []
                continue
            name = details[0]
            now = since.get(name, [])[-1] if since.get(name) else safe.get(name, b"")
            if what == "fsync":
                if name in since:
                    disk.fsync(name)
                    safe[name], since[name] = now, []
            elif what == "replace":
                disk.replace(*details)
                safe[name], since[name] = details[1], []
            else:
                at = details[2] if what == "put" else len(now)
                disk.write(name, details[1], at)
                steps = [put(now, at, details[1][:n]) for n in range(1, len(details[1]) + 1)]
                since.setdefault(name, []).extend(steps)
        for name, steps in since.items():
            assert disk.read(name) == (steps[-1] if steps else safe.get(name, b""))
