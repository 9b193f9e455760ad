"""A plain dump, cut into statements as psql cuts it; nothing in it is ever taken for a command."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_drdrill.live.dumps.script import Command, Script, Statement


def parsed(text):
    script = Script(text.splitlines(keepends=True))
    found = []
    for each in script:
        if isinstance(each, Command):
            found.append((each.name, each.argument))
        elif each.takes_data:
            found.append((each.text, b"".join(script.data())))
        else:
            found.append(each.text)
    return found, script


@pytest.mark.parametrize(
    "statement",
    [
        b"SELECT 1",
        b"SELECT ';' || '''' || '\\'",  # a backslash means nothing here
        b"SELECT E'\\';\\\\' , e';'",
        b"SELECT E'a''b\\';'",
        b"SELECT U&'d\\0061;t'",
        b'SELECT ";" AS "a"";"',
        b"SELECT $$;\n\\! rm $$ || $a_1$;$$;$b$;$a_1$",
        b"SELECT a$b$ FROM c$b$",  # names
        b"SELECT $1, 2$$;$$",
        b"SELECT 'two\nlines;'",
        b"SELECT (1;2)",
        b"SELECT 1 /* ; /* ; */ ' */ + 1",
        b"SELECT 1 - -1 * /* */ 2",
        b"CREATE FUNCTION f() BEGIN ATOMIC\nSELECT CASE WHEN a THEN 1 END; SELECT 2;\nEND",
        b"CREATE OR REPLACE PROCEDURE p()\nBEGIN ATOMIC BEGIN; END; END",
        b"BEGIN",
        b"CREATE TABLE t (begin int, case_ int)",
        "SELECT 'né;e' AS über".encode(),
    ],
)
def test_a_statement_ends_where_psql_ends_it(statement):
    found, script = parsed(b"SELECT 0;\n" + statement + b";\nSELECT 2;\n")
    assert found == [b"SELECT 0", statement, b"SELECT 2"]
    assert not script.unfinished


def test_comments_are_no_statements_and_lines_are_counted():
    text = b"-- one; two\n/* three;\n/* four */ ' */\n\nSELECT 1 -- ; '\n + 1;;\n\\.\n"
    text += b"SELECT 2; SELECT 3;\n"
    script = Script(text.splitlines(keepends=True))
    assert list(script) == [
        Statement(5, b"SELECT 1 \n + 1", takes_data=False),
        Command(7, b".", b""),
        Statement(8, b"SELECT 2", takes_data=False),
        Statement(8, b"SELECT 3", takes_data=False),
    ]
    assert script.line == 8


def test_rows_are_data_whatever_they_hold():
    rows = b"1\t'\n\\N\t\\\\.\n\\! rm\n;\n\\.x\n"
    text = b"COPY public.t (a, b) FROM stdin;\n" + rows + b"\\.\n\nSELECT 1;\n"
    found, script = parsed(text)
    assert found == [(b"COPY public.t (a, b) FROM stdin", rows), b"SELECT 1"]
    assert not script.in_data
    windows, _ = parsed(text.replace(b"\n", b"\r\n"))
    assert windows == [(found[0][0], rows.replace(b"\n", b"\r\n")), b"SELECT 1"]
    _, cut = parsed(text.partition(b"\\.\n\n")[0])
    assert cut.in_data


def test_many_rows_come_in_blocks():
    script = Script([b"COPY t FROM STDIN;\n", *[b"x" * 999 + b"\n"] * 1000, b"\\.\n"])
    (statement,) = (each for each in [next(iter(script))])
    assert statement.takes_data
    blocks = list(script.data())
    assert len(blocks) > 10
    assert max(len(block) for block in blocks) < 100_000
    assert sum(len(block) for block in blocks) == 1_000_000


def test_commands_are_told_from_statements():
    found, _ = parsed(
        b"\\connect -reuse-previous=on \"dbname='a b'\"\nSELECT 1 \\g | sh\nSELECT '\n\\! x';\n"
        b"SELECT 2; \\! date; SELECT 3;\n"
    )
    assert found == [
        (b"connect", b"-reuse-previous=on \"dbname='a b'\""),
        (b"g", b"| sh"),
        b"SELECT '\n\\! x'",
        b"SELECT 2",
        (b"!", b"date; SELECT 3;"),
    ]


def test_old_dumps_escape_by_backslashes_in_every_text():
    found, _ = parsed(b"SET standard_conforming_strings = off;\nSELECT 'a\\'; \\\\';\nSELECT 2;\n")
    assert found[1:] == [b"SELECT 'a\\'; \\\\'", b"SELECT 2"]


def test_a_dump_that_ends_in_a_statement_is_unfinished():
    for text in (b"SELECT 1", b"SELECT ';", b"SELECT $$;", b"SELECT 1;\nSEL"):
        assert parsed(text)[1].unfinished
    assert not parsed(b"SELECT 1;\n-- the end")[1].unfinished


QUOTED = st.one_of(
    st.text("ab;'\\$\"-/*\n", max_size=8).map(lambda text: "'" + text.replace("'", "''") + "'"),
    st.text("ab;'\\$\"-/*\n", max_size=8).map(
        lambda text: "E'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
    ),
    st.text("ab;'\\$-/*\n", max_size=8).map(lambda text: f'"{text}"'),
    st.text("ab;'\\\"-/*\n", max_size=8).map(lambda text: f"$q${text}$q$"),
    st.text("ab'; ", max_size=8).map(lambda text: f"/*{text}*/ b"),
    st.sampled_from(["a", "1", "+ 2", "(a; b)", "e"]),
)


@given(st.lists(st.lists(QUOTED, min_size=1, max_size=4), min_size=1, max_size=4))
def test_whatever_is_quoted_stays_in_its_statement(statements):
    texts = ["x " + " ".join(parts) for parts in statements]
    found, script = parsed("".join(f"{text};\n" for text in texts).encode())
    assert found == [text.encode() for text in texts]
    assert not script.unfinished


@given(st.binary(max_size=80))
def test_nothing_breaks_it(data):
    parsed(data)
