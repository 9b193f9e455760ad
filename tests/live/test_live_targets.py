"""The allow-list: outside of it every address is refused, by what is written and what it means."""

from __future__ import annotations

import pytest

from pytest_drdrill import AllowList, LiveRefused
from pytest_drdrill.live.target_address import read_addresses
from pytest_drdrill.live.targets import ScratchOnly, lock_keys

NAMES = {
    "db.staging": ["10.1.0.5"],
    "alias.staging": ["10.1.0.5"],
    "moved.staging": ["10.9.0.1"],
    "half.staging": ["10.1.0.6", "10.9.0.1"],
    "six.staging": ["fd00::5"],
}


def resolver(host):
    if host not in NAMES:
        raise OSError(-2, "Name or service not known")
    return NAMES[host]


def allows(entries, target):
    (address,) = read_addresses(target)
    try:
        AllowList(entries, resolver=resolver).check_target(address)
    except LiveRefused as refused:
        said = str(refused)
    else:
        return True
    assert said.startswith(str(address))
    assert "is outside of dr_live_targets, which lists " in said
    return False


@pytest.mark.parametrize(
    ("entries", "target"),
    [
        (["db.staging"], "db.staging"),
        (["db.staging"], "DB.staging:5432"),
        (["db.staging:5432"], "postgresql://u:p@db.staging/x"),
        (["postgresql://u:p@db.staging/x"], "db.staging:5432"),
        (["unknown.staging"], "unknown.staging"),  # as beyond a jump host
        (["*.staging"], "unknown.staging:1"),
        (["*.staging:5432"], "db.staging:5432"),
        (["db.staging"], "alias.staging"),  # the same machine
        (["db.staging"], "10.1.0.5"),
        (["10.1.0.5"], "db.staging"),
        (["10.1.0.0/16"], "db.staging"),
        (["10.1.0.0/16"], "10.1.9.9:22"),
        (["fd00::/8"], "six.staging"),
        (["fd00::/8"], "[fd00::7]:5432"),
        (["db.staging", "10.1.0.0/16"], "db.staging"),
        (["localhost:5432"], "localhost:5432"),
        (["/srv/orders"], "/srv/orders"),
        (["/srv/orders"], "/srv/orders/2026"),
    ],
)
def test_listed_systems_are_let_through(entries, target):
    assert allows(entries, target)


@pytest.mark.parametrize(
    ("entries", "target"),
    [
        ([], "db.staging"),
        (["db.staging"], "db.prod"),
        (["db.staging"], "moved.staging"),
        (["db.staging"], "x.db.staging"),
        (["*.staging"], "staging"),
        (["*.staging"], "evilstaging"),
        (["db.staging:5432"], "db.staging:5433"),
        (["db.staging:5432"], "db.staging"),  # the whole host is more than one port of it
        (["*.staging:5432"], "db.staging:22"),
        (["db.staging:5432"], "10.1.0.5:22"),
        (["10.1.0.0/16"], "moved.staging"),
        (["10.1.0.0/16"], "half.staging"),  # one of its addresses is outside
        (["10.1.0.0/16"], "unknown.staging"),
        (["10.1.0.0/16"], "10.2.0.1"),
        (["moved.staging", "10.1.0.0/16"], "moved.staging"),  # pointed elsewhere since
        (["*.staging", "10.1.0.0/16"], "moved.staging"),
        (["0.0.0.0/0"], "six.staging"),
        (["db.staging"], "localhost"),
        (["/srv/orders"], "/srv/orders2"),
        (["/srv/orders"], "/srv"),
        (["db.staging"], "/srv"),
    ],
)
def test_all_else_is_refused(entries, target):
    assert not allows(entries, target)


def test_refusals_say_where_a_name_leads():
    allowed = AllowList(["moved.staging", "10.1.0.0/16"], resolver=resolver)
    with pytest.raises(LiveRefused, match=r"moved\.staging resolves to 10\.9\.0\.1, which is out"):
        allowed.check("moved.staging")
    with pytest.raises(LiveRefused, match=r"unknown has no address that could be found \(Name or"):
        allowed.check("unknown")


def test_scratch_on_loopback_is_in_no_question():
    allowed = AllowList(["db.staging:5432"], resolver=resolver)
    for address in ("127.0.0.1", "localhost:5432", "::1", "postgresql://localhost/x"):
        allowed.check(address)
    allowed.check("127.0.0.1", 5432)
    allowed.check("db.staging", 5432)
    with pytest.raises(LiveRefused, match=r"db\.staging:22 resolves to 10\.1\.0\.5, which is out"):
        allowed.check("db.staging", 22)
    with pytest.raises(LiveRefused, match="is no host"):
        allowed.check("d b")


def test_what_is_no_live_drill_reaches_its_scratch_alone():
    ScratchOnly().check("127.0.0.1", 5432)
    with pytest.raises(LiveRefused, match="only a live drill touches it; mark the test dr_live"):
        ScratchOnly().check("db.staging", 5432)


@pytest.mark.parametrize("entry", ["10.1.0.0/99", "db/16", "*.", "d b", "a:s3cret@db", ""])
def test_entry_that_means_nothing_is_refused(entry):
    with pytest.raises(ValueError, match="write") as caught:
        AllowList([entry])
    assert "s3cret" not in str(caught.value)


def collide(one, other):
    first, second = (
        lock_keys(*read_addresses(target), resolver=resolver) for target in (one, other)
    )
    return any(key in second and not (first[key] and second[key]) for key in first)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("db.staging", "db.staging", True),
        ("db.staging:1", "db.staging:1", True),
        ("db.staging:1", "db.staging:2", False),
        ("db.staging", "db.staging:2", True),  # a host and one service of it
        ("db.staging:1", "alias.staging:1", True),  # two names of one machine
        ("db.staging:1", "10.1.0.5:1", True),
        ("db.staging:1", "moved.staging:1", False),
        ("unknown:1", "unknown:1", True),
        ("/srv/a", "/srv/a", True),
        ("/srv/a", "/srv/b", False),
        ("/srv/a", "/srv/a/b", True),
        ("/srv", "/srv/a/b", True),
        ("/", "/srv", True),
    ],
)
def test_drills_collide_on_what_is_one_system(one, other, expected):
    assert collide(one, other) is expected
    assert collide(other, one) is expected
