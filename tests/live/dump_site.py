"""A database worth dumping, and its dumps; what the tests of restores share."""

from __future__ import annotations

import gzip
import shutil
import subprocess
from functools import partial

from needs import needs, needs_postgres
from pytest_drdrill.live.dumps.binaries import installed
from pytest_drdrill.live.dumps.scratch import ScratchPostgres, clean_environment

ROWS = 300
SCHEMA = r"""
CREATE TABLE orders (
    id serial PRIMARY KEY, what text NOT NULL, created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE nothing_yet (id int GENERATED ALWAYS AS IDENTITY, note text);
CREATE SCHEMA "odd; schema";
CREATE TABLE "odd; schema"."it's ""odd" (a text, "b;" text);
INSERT INTO "odd; schema"."it's ""odd" VALUES
    (E'tab\tline\nback\\slash', E'\\.'), ('\! touch', '$$');
INSERT INTO orders (what, created_at)
    SELECT md5(i::text), timestamptz '2026-03-01 00:00Z' + i * interval '1 s'
    FROM generate_series(1, 300) AS i;
CREATE MATERIALIZED VIEW counted AS SELECT count(*) AS orders FROM orders;
CREATE FUNCTION in_sql() RETURNS int LANGUAGE sql BEGIN ATOMIC
    SELECT CASE WHEN true THEN 1 ELSE 2 END; SELECT 3;
END;
CREATE FUNCTION in_plpgsql() RETURNS text LANGUAGE plpgsql AS $body$
BEGIN
-- COPY orders FROM stdin;
\d -- no command of psql
RETURN E'a\'b;' || ';';
END $body$;
SELECT lo_from_bytea(4711, '\x00010203');
"""
CHECKED = {
    "SELECT count(*), sum(length(what)), max(created_at)::text FROM orders": None,
    'SELECT a, "b;" FROM "odd; schema"."it\'s ""odd" ORDER BY 1': None,
    "SELECT orders FROM counted": None,
    "SELECT in_sql()": None,
    "SELECT prosrc FROM pg_proc WHERE proname = 'in_plpgsql'": None,
    "SELECT lo_get(4711)": None,
    "SELECT nextval('orders_id_seq')": [(ROWS + 1,)],
}
"""Questions whose answers are the source's own, or as given."""


def postgres_of(age):
    """The oldest or newest installation here; skips the test where there is none."""
    needs_postgres()
    found = sorted(installed(), key=lambda each: each.major)
    return found[0 if age == "oldest" else -1]


class Source:
    """A server with a database to be dumped, and each dump of it that was asked for."""

    def __init__(self, folder):
        self.binaries = postgres_of("oldest")
        self.folder = folder
        self.server = ScratchPostgres(self.binaries)
        self.make("shop", SCHEMA.replace(r"\d -- no command of psql", "NULL;"))
        with self.server.connect("shop") as connection:
            self.answers = {
                question: answer or connection.execute(question).fetchall()
                for question, answer in CHECKED.items()
                if "nextval" not in question
            } | {question: answer for question, answer in CHECKED.items() if answer}

    def make(self, database, sql):
        """A database with what some statements make in it."""
        with self.server.connect("postgres") as connection:
            connection.execute(f"CREATE DATABASE {_quoted(database)} TEMPLATE template0")
        with self.server.connect(database) as connection:
            connection.execute(sql)

    def drop(self, name, kind="DATABASE"):
        """Remove a database, or a role."""
        with self.server.connect("postgres") as connection:
            connection.execute(f"DROP {kind} {_quoted(name)}")

    def dump(self, name, *options, database="shop", program="pg_dump"):
        """A dump of that name, made once."""
        path = self.folder / name
        if not path.exists():
            command = [self.binaries.folder / program, "-d", self.server.dsn(database), *options]
            subprocess.run([*command, "-f", path], env=clean_environment(), check=True)
        return path

    def of_kind(self, kind):
        """One dump of each kind."""
        return getattr(self, f"_{kind}", partial(self.dump, kind, *OPTIONS.get(kind, ())))()

    def _piped(self):
        """A custom dump that did not know where its data would lie."""
        path = self.folder / "piped"
        if not path.exists():
            program = self.binaries.folder / "pg_dump"
            command = f"'{program}' -Fc -d \"$DSN\" | cat > '{path}'"
            environment = clean_environment() | {"DSN": self.server.dsn("shop")}
            subprocess.run(command, shell=True, env=environment, check=True)
        return path

    def _gzip(self):
        return self._packed("gz", gzip.compress)

    def _zstd(self):
        return self._packed("zst", partial(_filtered, "zstd"))

    def _packed(self, suffix, pack):
        path = self.folder / f"plain.{suffix}"
        if not path.exists():
            path.write_bytes(pack(self.of_kind("plain").read_bytes()))
        return path

    def close(self):
        self.server.close()


OPTIONS = {
    "custom": ("-Fc",),
    "tar": ("-Ft",),
    "directory": ("-Fd",),
    "bare_directory": ("-Fd", "-Z0"),
    "plain": (),
    "inserts": ("--inserts", "--rows-per-insert=50"),
    "created": ("-C", "-v"),
}
KINDS = (
    *("custom", "piped", "tar", "directory", "bare_directory"),
    *("plain", "gzip", "zstd", "inserts"),
)


def _quoted(name):
    return '"' + name.replace('"', '""') + '"'


def _filtered(program, data):
    return subprocess.run(
        [needs(program), "-q"], input=data, stdout=subprocess.PIPE, check=True
    ).stdout


def copied(dump, folder):
    """A copy of a dump, to be damaged."""
    target = folder / dump.name
    if dump.is_dir():
        shutil.copytree(dump, target)
    else:
        shutil.copyfile(dump, target)
    return target
