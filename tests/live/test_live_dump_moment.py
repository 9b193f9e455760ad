"""From which moment the data of a dump are, told without ever guessing a time zone."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from pytest_drdrill.live.dumps.heading import is_end, read_heading
from pytest_drdrill.live.dumps.moment import of_archive, of_started, zone_of

BERLIN = zone_of("Europe/Berlin")
naive = datetime.fromisoformat


@pytest.fixture
def berlin(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("zone", ["named", "machine's"])
def test_a_wall_clock_without_a_zone_is_read_in_that_of_its_machine(berlin, zone):
    zone = BERLIN if zone == "named" else None
    winter = of_archive(naive("2026-01-05T03:00"), summer=False, zone=zone)
    assert winter == datetime(2026, 1, 5, 2, tzinfo=UTC)
    summer = of_archive(naive("2026-07-05T03:00"), summer=True, zone=zone)
    assert summer == datetime(2026, 7, 5, 1, tzinfo=UTC)
    # The hour that comes twice: the archive says which of them it was.
    twice = naive("2026-10-25T02:30")
    assert of_archive(twice, summer=True, zone=zone) == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert of_archive(twice, summer=False, zone=zone) == datetime(2026, 10, 25, 1, 30, tzinfo=UTC)
    assert of_archive(None, summer=False, zone=zone) is None


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        ("2026-01-05 03:00:00 UTC", 3),
        ("2026-01-05 03:00:00 GMT", 3),
        ("2026-01-05 03:00:00 +01", 2),
        ("2026-01-05 03:00:00 -0530", 8.5),
        ("2026-01-05 03:00:00 CET", 2),
        ("2026-07-05 03:00:00 CEST", 1),
        ("2026-07-05 03:00:00 CET", None),  # not in summer
        ("2026-01-05 03:00:00 IST", None),  # India, Ireland, Israel?
        ("2026-01-05 03:00:00", None),
        ("last night", None),
    ],
)
def test_an_abbreviation_counts_where_it_can_mean_one_zone_alone(text, hours):
    found = of_started(text, BERLIN)
    day = None if hours is None else datetime.fromisoformat(text[:10]).replace(tzinfo=UTC)
    assert found == (None if hours is None else day + timedelta(hours=hours))


def test_an_abbreviation_of_this_machine_counts_too(berlin):
    assert of_started("2026-01-05 03:00:00 CET", None) == datetime(2026, 1, 5, 2, tzinfo=UTC)


HEAD = rb"""--
-- PostgreSQL database dump
--

\restrict abc

-- Dumped from database version 15.18 (Debian 15.18-0+deb12u1)
-- Dumped by pg_dump version 17.2

-- Started on 2026-01-05 03:00:00 UTC

SET client_encoding = 'LATIN1';
"""
END = b"--\n-- PostgreSQL database dump complete\n--\n\n"


def test_a_heading_says_what_it_says():
    found = read_heading(HEAD)
    assert found.server.startswith("15.18 ")
    assert found[1:] == ("17.2", "2026-01-05 03:00:00 UTC", "LATIN1", "abc")
    assert read_heading(b"--") == ("",) * 5
    assert read_heading(HEAD.replace(b"\n", b"\r\n")) == found


@pytest.mark.parametrize(
    ("tail", "keyed", "plain"),
    [
        (END, False, True),
        (END.strip(), False, True),
        (END + b"\\unrestrict abc\n\n", True, False),
        (END + b"\\unrestrict ab", False, False),
        (END[:-6], False, False),
        (END + b"SELECT 1;\n", False, False),
        (END.replace(b"database dump", b"database cluster dump"), True, True),
        (END.replace(b"\n", b"\r\n"), False, True),
        (b"x" + END[3:], False, False),
    ],
)
def test_only_the_end_that_pg_dump_writes_is_the_end(tail, keyed, plain):
    assert is_end(b"COMMIT;\n\n" + tail, read_heading(HEAD)) is keyed
    assert is_end(b"COMMIT;\n\n" + tail, read_heading(b"")) is plain
