"""Dumps of every format, restored into real servers: what comes back is what was dumped."""

from __future__ import annotations

import os
import re
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from dump_site import KINDS, ROWS, copied

from pytest_drdrill import (
    DumpError,
    DumpRefused,
    PostgresError,
    RecoveryPointUnknown,
    RestoreUnsound,
)
from pytest_drdrill.live.dumps.catalog import Catalog
from pytest_drdrill.live.dumps.findings import Findings
from pytest_drdrill.live.dumps.restore import _chosen, _recovery_point
from pytest_drdrill.live.dumps.scratch import ScratchPostgres
from pytest_drdrill.live.dumps.sums import mismatch
from pytest_drdrill.live.postgres import template


def names(findings):
    return [(each.name, each.severity) for each in findings]


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_dumped_comes_back(source, restore, kind):
    began = datetime.now(UTC)
    settings = {"work_mem": "8MB"}
    restored = restore(
        source.of_kind(kind), minimum_rows={"orders": ROWS}, jobs=2, settings=settings
    )
    assert restored.findings == ()
    assert restored.tables == {"nothing_yet": 0, "odd; schema.it's \"odd": 2, "orders": ROWS}
    assert {each: restored.query(each) for each in source.answers} == source.answers
    assert timedelta() < restored.duration < timedelta(minutes=1)
    assert restored.dump == source.of_kind(kind)
    if kind in {"plain", "gzip", "zstd", "inserts"}:
        assert restored.format == "plain"
        assert restored.basis is None
        with pytest.raises(
            RecoveryPointUnknown, match=r"nothing says when .* was begun: dump with"
        ):
            restored.recovery_point  # noqa: B018 - looked up for the error
    else:
        assert restored.format in kind or (restored.format, kind) == ("custom", "piped")
        assert restored.basis == "header"
        assert began - timedelta(minutes=5) < restored.recovery_point <= datetime.now(UTC)
    check_server(restored)


def test_initdb_runs_once_for_all_restores(source, monkeypatch):
    ScratchPostgres(source.binaries).close()
    monkeypatch.setattr(template, "_initialize", None)
    ScratchPostgres(source.binaries).close()


def check_server(restored):
    assert restored.query("SHOW work_mem") == [("8MB",)]
    assert restored.query("SHOW fsync") == [("on",)]  # what it took is what it takes
    assert restored.query("SHOW listen_addresses") == [("",)]
    folder = Path(restored._server.folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert folder.stat().st_uid != 0
    assert "password" not in restored.dsn
    assert restored.query("UPDATE orders SET what = %s WHERE id = 1", ["new"]) == []
    assert restored.query("SELECT what FROM orders WHERE id = 1") == [("new",)]


def test_where_a_restore_listens_is_not_to_be_chosen(source, restore):
    with pytest.raises(
        PostgresError, match=r"listen_addresses .* not to be set: it listens on a socket alone"
    ):
        restore(source.of_kind("custom"), settings={"listen_addresses": "*"})


def test_a_dump_that_makes_its_database_is_restored_into_that(source, restore):
    restored = restore(source.of_kind("created"), freshness="SELECT max(created_at) FROM orders")
    assert restored.databases == ("shop",)
    assert " dbname=shop" in restored.dsn
    assert restored.query("SELECT current_database()") == [("shop",)]
    assert restored.basis == "header"  # pg_dump -v writes it
    assert restored.recovery_point.tzinfo is not None
    assert restored.findings == ()


HOSTILE = 'o\'dd \\ "db"'


def test_a_dump_of_all_databases_gives_each_of_them(source, restore):
    source.make(
        HOSTILE,
        "CREATE ROLE clerk PASSWORD 'hunter2' LOGIN; CREATE TABLE kept AS SELECT 1;"
        "ALTER TABLE kept OWNER TO clerk",
    )
    try:
        dump = source.dump("everything", database="postgres", program="pg_dumpall")
    finally:
        source.drop(HOSTILE)
        source.drop("clerk", "ROLE")
    restored = restore(dump, database=HOSTILE, roles=["clerk"])
    assert HOSTILE in restored.databases
    assert "shop" in restored.databases
    assert restored.query("SELECT * FROM kept") == [(1,)]
    assert names(restored.findings) == [("existed_before", "notice")]


def test_one_of_several_databases_has_to_be_chosen():
    path, two = Path("all.sql"), ("shop", "stock")
    with pytest.raises(DumpError, match=r"all.sql holds several databases: shop, stock; choose"):
        _chosen(two, None, path)
    assert _chosen(two, "stock", path) == "stock"
    with pytest.raises(DumpError, match=r"holds no database 'stocks', but shop, stock"):
        _chosen(two, "stocks", path)
    assert _chosen(("restored",), "shop", path) == "restored"


def test_a_sidecar_tells_when_a_dump_was_begun(source, restore, tmp_path):
    dump = copied(source.of_kind("plain"), tmp_path)
    os.utime(dump, (0, 0))
    sidecar = tmp_path / "plain.recovery-point"
    sidecar.write_text("2026-03-01T02:00:00+01:00\n")
    restored = restore(dump)
    point = datetime(2026, 3, 1, 1, tzinfo=UTC)
    assert (restored.basis, restored.recovery_point) == ("sidecar", point)
    for text in ("yesterday", "2026-03-01T02:00:00", "{}"):
        sidecar.write_text(text)
        with pytest.raises(DumpRefused, match="no moment with a time zone, such as 2026"):
            restore(dump)


def test_a_dump_of_another_zone_that_seems_of_the_future_is_found_out(source, restore):
    with pytest.raises(RestoreUnsound, match=r"clock_mismatch: its recovery .* lies in the future"):
        restore(source.of_kind("custom"), dumped_in="Pacific/Pago_Pago")  # 11 hours behind


@pytest.fixture
def shop(source):
    with source.server.connect("shop") as connection:
        yield connection


def test_rows_tell_how_fresh_they_are_where_the_dump_does_not(shop):
    findings, query = Findings(), "SELECT max(created_at) FROM orders"
    newest = datetime(2026, 3, 1, 0, 5, tzinfo=UTC)
    point = _recovery_point(None, None, query, shop, findings)
    assert (point.basis, point.moment) == ("freshness", newest)
    later = newest + timedelta(seconds=1)
    assert _recovery_point(later, None, query, shop, findings) == (later, "header")
    assert _recovery_point(None, later, query, shop, findings) == (later, "sidecar")
    assert _recovery_point(None, None, f"{query} WHERE false", shop, findings) is None
    assert findings.all == ()
    _recovery_point(newest - timedelta(hours=1), None, query, shop, findings)
    (found,) = findings.failing
    assert found.name == "clock_mismatch"
    assert "its newest row is of 2026-03-01T00:05:00+00:00, and the dump says" in found.text


@pytest.mark.parametrize(
    ("freshness", "message"),
    [
        ("SELECT max(created) FROM orders", "failed: column"),
        ("SELECT 5", "gave int, not a timestamp with time zone"),
        ("SELECT timestamp '2026-03-01'", "without time zone; say which one"),
    ],
)
def test_a_freshness_query_that_tells_no_moment_is_refused(shop, freshness, message):
    with pytest.raises(DumpError, match=message):
        _recovery_point(None, None, freshness, shop, Findings())


FAULTY = r"""
--
-- PostgreSQL database dump
--
SET client_encoding = 'UTF8';
SET transaction_nonsense = 0;
CREATE TABLE public.orders (id integer NOT NULL, note text);
CREATE SEQUENCE public.orders_id_seq;
ALTER SEQUENCE public.orders_id_seq OWNED BY public.orders.id;
ALTER TABLE public.orders OWNER TO app;
GRANT SELECT ON TABLE public.orders TO app;
GRANT SELECT ON TABLE public.orders TO reporting;
DROP TABLE public.old_orders;
CREATE EXTENSION IF NOT EXISTS postgis_of_mars WITH SCHEMA public;
CREATE TABLE public.places (at public.geometry);
\! touch {witness}
\o | touch {witness}
SELECT 1 \g | touch {witness}
COPY public.places (at) FROM stdin;
\\! touch {witness}
\! touch {witness}
\N
\.
COPY public.orders (id, note) FROM stdin;
7	password: hunter2
8	\N
\.
COPY public.orders (id, note) FROM stdin;
nine	password: hunter2
\.
INSERT INTO public.orders VALUES (8, 'hunter2');
BEGIN;
SELECT 1 / 0;
INSERT INTO public.orders VALUES (9, 'hunter2');
COMMIT;
ALTER TABLE ONLY public.orders ADD CONSTRAINT orders_pkey PRIMARY KEY (id);
CREATE TABLE public.orders (again integer);
CREATE TABLE public.fast (a int) TABLESPACE ssd;
--
-- PostgreSQL database dump complete
--
"""
FOUND = {
    "psql_command": r"line 16 holds a command for psql, \\!, which pg_dump does not write; it",
    "unknown_setting": r"1 statement failed: unrecognized configuration .* \(line 6\)",
    "missing_role": r'3 statements failed: role "app" does not exist \(2 times, first: line 10\); '
    r'role "reporting" does not exist \(line 12\)',
    "nothing_to_drop": r'table "old_orders" does not exist \(line 13\)',
    "missing_extension": r"1 statement failed: .*postgis_of_mars.* \(line 14\)",
    "missing_object": r'type "public.geometry" does not exist \(line 15\); relation "public.pl',
    "damaged_data": r'invalid input syntax for type integer: "nine" \(line 28\)',
    "failed_statement": r"1 statement failed: division by zero",
    "constraint_violated": r'could not create unique index "orders_pkey" \(line 36\)',
    "already_exists": r'relation "orders" already exists \(line 37\)',
    "missing_tablespace": r'tablespace "ssd" does not exist \(line 38\)',
    "sequence_behind": r"orders_id_seq gives 4 next, and orders.id has 8 already; s.back_seq gives",
    "view_unpopulated": r"1 in all: stale$",
    "not_valid_constraint": r"1 in all: orders.small$",
    "too_few_rows": r"orders",
    "invalid_index": r"1 in all: parted_key$",
}


ASKED = {
    "sequence_behind",
    "view_unpopulated",
    "not_valid_constraint",
    "too_few_rows",
    "invalid_index",
}
FAULTY_TABLES = """
CREATE TABLE orders (id serial, note text);
INSERT INTO orders (id) VALUES (7), (8), (8);
SELECT setval('orders_id_seq', 3, true);
CREATE MATERIALIZED VIEW stale AS SELECT id FROM orders WITH NO DATA;
ALTER TABLE orders ADD CONSTRAINT small CHECK (id < 8) NOT VALID;
CREATE TABLE parted (id int) PARTITION BY RANGE (id);
CREATE TABLE part PARTITION OF parted FOR VALUES FROM (1) TO (9);
CREATE INDEX parted_key ON ONLY parted (id);
CREATE SCHEMA s;
CREATE TABLE s.more AS SELECT 1;
CREATE SEQUENCE s.back_seq INCREMENT -1;
CREATE TABLE s.queue (id int DEFAULT nextval('s.back_seq'), ahead int GENERATED ALWAYS AS IDENTITY);
INSERT INTO s.queue SELECT FROM generate_series(1, 4);
SELECT setval('s.back_seq', -2, true);
CREATE EXTENSION IF NOT EXISTS plpgsql;
"""


@pytest.fixture
def faulty(tmp_path):
    dump = tmp_path / "faulty.sql"
    dump.write_text(FAULTY.replace("{witness}", str(tmp_path / "witness")))
    return dump


def test_everything_that_is_wrong_is_found_and_no_command_is_run(faulty, restore, tmp_path):
    told = []
    ignore = dict.fromkeys(FOUND, "a lesson")
    del ignore["missing_role"]
    with pytest.raises(RestoreUnsound) as caught:
        restore(faulty, ignore=ignore, minimum_rows={"orders": 5}, tell=told.append)
    text = str(caught.value)
    assert text.startswith(f"the restore of {faulty} has a serious finding; one may be ignored by")
    assert "ignore={'missing_role': '...'}" in text
    assert FOUND["missing_role"].replace("\\", "") in text
    assert "psql_command" not in text
    findings = caught.value.findings
    assert tuple(told) == findings
    assert not (tmp_path / "witness").exists()
    assert "hunter2" not in repr(findings) + text
    # It ends with the restore; what is asked of the catalogue, the next test shows.
    assert {each.name: each.ignored for each in findings} == {
        name: ignore.get(name) for name in FOUND if name not in ASKED
    }
    texts = {}
    for each in findings:
        texts.setdefault(each.name, []).append(each.text)
    for name, found in texts.items():
        assert re.search(FOUND[name], "; ".join(found)), name
    assert len(texts["psql_command"]) == 3  # none of them among the rows of a table


def test_what_a_catalogue_shows_is_found(source):
    source.make("faulty", FAULTY_TABLES)
    findings = Findings()
    with source.server.connect("faulty") as connection:
        Catalog(connection).check({"orders": 5, "s.more": 1, "more": 1, "none": 1}, findings)
    found = {each.name: each.text for each in findings.all}
    assert set(found) == ASKED
    for name, text in found.items():
        assert re.search(FOUND[name], text), name
    texts = [each.text for each in findings.all if each.name == "too_few_rows"]
    assert texts == [
        "orders has 3 rows, and should have at least 5",
        "there is no table none; there are: orders, parted, s.more, s.queue",
    ]


def test_roles_that_are_made_before_are_there(source, restore):
    owned = "CREATE TABLE a AS SELECT 1; CREATE ROLE app; ALTER TABLE a OWNER TO app"
    source.make("owned", owned)
    dump = source.dump("owned.dump", "-Fc", database="owned")
    source.drop("owned")
    source.drop("app", "ROLE")
    with pytest.raises(
        RestoreUnsound, match=r'missing_role: .*role "app" does not exist \(ALTER TABLE public.a\)'
    ):
        restore(dump)
    with pytest.raises(DumpError, match=r"^roles: 'pg_app' can't be made: role name \"pg_app\" is"):
        restore(dump, roles=["pg_app"])
    restored = restore(dump, roles=["app", "app"])
    assert restored.query("SELECT tableowner FROM pg_tables WHERE tablename = 'a'") == [("app",)]
    assert restored.findings == ()


def test_an_archive_of_nothing_but_tables_is_no_restore(source, restore):
    dump = source.dump("schema.dump", "-Fc", "--schema-only")
    with pytest.raises(RestoreUnsound, match="empty_restore: all 3 tables are empty"):
        restore(dump)
    source.make("void", "SELECT 1")
    with pytest.raises(RestoreUnsound, match="empty_restore: there is no table in what was"):
        restore(source.dump("void.sql", database="void"))


def test_rows_that_a_constraint_refuses_are_found_in_an_archive(source, restore):
    source.make(
        "loose",
        "CREATE FUNCTION odd(int) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT $1 % 2 = 1';"
        "CREATE TABLE numbers (a int CHECK (odd(a))); INSERT INTO numbers VALUES (1), (3);"
        "CREATE OR REPLACE FUNCTION odd(int) RETURNS bool IMMUTABLE LANGUAGE sql AS"
        " 'SELECT $1 > 1'",
    )
    dump = source.dump("loose.dump", "-Fc", database="loose")
    with pytest.raises(RestoreUnsound) as caught:
        restore(dump)
    assert names(caught.value.findings) == [("constraint_violated", "serious")]
    assert "(rows of numbers)" in str(caught.value)


def test_a_checksum_that_does_not_fit_stops_before_anything_is_restored(source, restore, tmp_path):
    dump = copied(source.of_kind("custom"), tmp_path)
    told = subprocess.run(["sha256sum", dump], stdout=subprocess.PIPE, text=True, check=True)
    beside = tmp_path / "custom.sha256"
    assert mismatch(dump) is None
    for text in (told.stdout, told.stdout.split()[0], f"{'0' * 64}  other\n{told.stdout}"):
        beside.write_text(text)
        assert mismatch(dump) is None
    beside.write_text(f"{'0' * 64}  {dump}")
    with pytest.raises(RestoreUnsound, match="checksum_mismatch: its SHA-256 sum is not the"):
        restore(dump)
    for text in ("none\n", "", f"{'0' * 64}  a\n{'0' * 64}  b\n"):
        beside.write_text(text)
        assert mismatch(dump) == "custom.sha256 has no SHA-256 sum for it"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"ignore": "missing_role"}, TypeError, "ignore takes names of findings with a reason"),
        (
            {"ignore": {"missing_rule": "x"}},
            ValueError,
            "no finding 'missing_rule'; the names",
        ),
        ({"ignore": {"missing_role": " "}}, ValueError, "missing_role needs a reason"),
        ({"minimum_rows": ["orders"]}, TypeError, r"as in \{'orders': 1\}"),
        ({"minimum_rows": {"orders": 0}}, ValueError, "orders needs a number from 1 up, not 0"),
        ({"jobs": 0}, ValueError, "jobs=0: write how many connections"),
        ({"dumped_in": "Berlin"}, ValueError, "'Berlin' is no time zone that this machine knows"),
        ({"roles": ["app", 5]}, TypeError, r"roles takes names of roles, as in \['app'\], not 5"),
        ({"roles": 5}, TypeError, "not 5"),
        ({"roles": ""}, TypeError, "not ''"),
        ({"dumped_in": 2}, TypeError, "dumped_in takes the name of a time zone, not 2"),
    ],
)
def test_what_means_nothing_is_refused_before_the_dump_is_looked_at(
    options, error, message, restore
):
    with pytest.raises(error, match=message):
        restore("/no/such/dump", **options)
