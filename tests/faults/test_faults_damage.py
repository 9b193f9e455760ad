import os
import stat

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_drdrill import FaultError, FaultInjector, FlippedBit


@pytest.fixture
def scratch(tmp_path):
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


@pytest.fixture
def told():
    return []


@pytest.fixture
def faults(scratch, told):
    return FaultInjector([scratch], announce=lambda *event: told.append(event))


def flipped(before, bits):
    """The same bytes with some bits flipped, by arithmetic on the whole."""
    number = int.from_bytes(before, "little")
    for _, offset, bit in bits:
        number ^= 1 << 8 * offset + bit
    return number.to_bytes(len(before), "little")


# -- bits --------------------------------------------------------------------------------------


def test_bits_flip_and_nothing_else_tells(faults, scratch, told):
    path = scratch / "ledger"
    before = os.urandom(3000)
    path.write_bytes(before)
    path.chmod(0o440)
    os.utime(path, ns=(111, 222))
    fault = faults.flip_bits(path, 5, seed=7)
    assert (path.stat().st_mtime_ns, stat.S_IMODE(path.stat().st_mode)) == (222, 0o440)
    assert path.read_bytes() == flipped(before, fault.bits)
    assert len(set(fault.bits)) == 5
    assert fault.offsets == tuple(bit.offset for bit in fault.bits) == tuple(sorted(fault.offsets))
    assert not fault.undoable
    assert told == [("fault", f"flipped 5 bits in {path} (seed 7)")]
    fault.undo()
    assert path.read_bytes() != before


@given(st.binary(min_size=1, max_size=40), st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_same_seed_flips_the_same_bits_and_twice_is_none(faults, scratch, content, data):
    path = scratch / "ledger"
    path.write_bytes(content)
    count = data.draw(st.integers(1, 8 * len(content)))
    first = faults.flip_bits(path, count, seed=1)
    assert len(set(first.bits)) == count
    assert path.read_bytes() == flipped(content, first.bits)
    assert faults.flip_bits(path, count, seed=1).bits == first.bits
    assert path.read_bytes() == content


def test_another_seed_flips_others(faults, scratch):
    (scratch / "ledger").write_bytes(bytes(1000))
    found = {faults.flip_bits(scratch / "ledger", 3, seed=seed).bits for seed in range(5)}
    assert len(found) == 5


def test_bits_of_a_folder_lie_in_any_of_its_files(faults, scratch):
    folder = scratch / "orders"
    (folder / "sub").mkdir(parents=True)
    for name in ("a", "b", "sub/c"):
        (folder / name).write_bytes(bytes(10))
    (folder / "empty").touch()
    (folder / "link").symlink_to(folder / "a")
    (folder / "again").hardlink_to(folder / "b")  # else it would flip there and back
    fault = faults.flip_bits(folder, 30 * 8)
    assert {bit.path.name for bit in fault.bits} == {"a", "again", "c"}
    assert [(folder / name).read_bytes() for name in ("a", "b", "sub/c")] == [b"\xff" * 10] * 3
    assert fault.bits[0] == FlippedBit(folder / "a", 0, 0)


@pytest.mark.parametrize(
    ("count", "seed", "message"),
    [
        (81, 0, "holds 80 bits, of which 81 can't be flipped"),
        (0, 0, "bits must be a whole number from 1 on, not 0"),
        (True, 0, "bits must be a whole number from 1 on, not True"),
        ("x", 0, "bits must be a whole number from 1 on, not 'x'"),
        (1, -1, "seed must be a whole number from 0 on, not -1"),
    ],
)
def test_bits_that_can_not_be_flipped(faults, scratch, told, count, seed, message):
    (scratch / "ledger").write_bytes(bytes(10))
    with pytest.raises(FaultError, match=message):
        faults.flip_bits(scratch / "ledger", count, seed=seed)
    assert (scratch / "ledger").read_bytes() == bytes(10)
    assert told == []


# -- truncation --------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "left"), [(None, 1500), (0, 0), ("1KiB", 1024), (2999, 2999)])
def test_file_ends_too_early(faults, scratch, told, size, left):
    path = scratch / "dump"
    before = os.urandom(3000)
    path.write_bytes(before)
    path.chmod(0o400)
    fault = faults.truncate_file(path, size)
    assert path.read_bytes() == before[:left]
    assert stat.S_IMODE(path.stat().st_mode) == 0o400
    assert not fault.undoable
    assert told == [("fault", f"truncated {path} from 3000 to {left} bytes")]


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (3000, "has 3000 bytes, so there is nothing to cut it to 3000 for"),
        (-1, "size must be a number of bytes, or a text as '64MiB'"),
        ("3 apples", "size must be a number of bytes, or a text as '64MiB'"),
    ],
)
def test_file_that_is_not_cut(faults, scratch, size, message):
    (scratch / "dump").write_bytes(bytes(3000))
    with pytest.raises(FaultError, match=message):
        faults.truncate_file(scratch / "dump", size)
    assert (scratch / "dump").stat().st_size == 3000


def test_what_is_no_file_is_not_cut(faults, scratch):
    (scratch / "folder").mkdir()
    with pytest.raises(FaultError, match="is no regular file, so it can't be truncated"):
        faults.truncate_file(scratch / "folder")
    (scratch / "empty").touch()
    with pytest.raises(FaultError, match="has 0 bytes, so there is nothing to cut it to 0 for"):
        faults.truncate_file(scratch / "empty")


# -- both --------------------------------------------------------------------------------------


@pytest.fixture(params=["flip_bits", "truncate_file"])
def strike(request, faults):
    return getattr(faults, request.param)


def test_damage_stays_within_the_scratch(strike, scratch, tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("kept")
    (scratch / "link").symlink_to(outside)
    (scratch / "hard").hardlink_to(outside)
    for path in (outside, scratch / "link"):
        with pytest.raises(FaultError, match="is not this drill's scratch"):
            strike(path)
    with pytest.raises(FaultError, match="is a hard link to a file with another name outside"):
        strike(scratch / "hard")
    with pytest.raises(FaultError, match="does not exist"):
        strike(scratch / "nothing")
    assert outside.read_text() == "kept"


def test_damage_that_fails_says_so(strike, scratch, told, monkeypatch):
    path = scratch / "ledger"
    path.write_bytes(bytes(10))

    def fail(*args):
        raise OSError(5, os.strerror(5))

    monkeypatch.setattr(os, "pwrite", fail)
    monkeypatch.setattr(os, "truncate", fail)
    with pytest.raises(FaultError, match=r" 0 of 1 files in .*, then failed: .*Input/output error"):
        strike(path)
    assert len(told) == 1


def test_ordinary_user_damages_what_is_their_own(users_folder, as_user):
    own, other = users_folder / "own", users_folder / "other"
    other.write_bytes(bytes(10))
    with as_user():
        own.write_bytes(bytes(10))
        own.chmod(0)
        faults = FaultInjector([users_folder])
        faults.flip_bits(own)
        faults.truncate_file(own)
        for strike in (faults.flip_bits, faults.truncate_file):
            with pytest.raises(FaultError, match="other belongs to another user; nothing was"):
                strike(other)
    assert own.stat().st_size == 5
    assert other.read_bytes() == bytes(10)
