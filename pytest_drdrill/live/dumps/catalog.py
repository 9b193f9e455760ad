"""What is in a restored database, asked of its own catalogue, and what is not as it should be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_drdrill.live.postgres.driver import psycopg as psycopg_module
from pytest_drdrill.text import named

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pytest_drdrill.live.dumps.findings import Findings

_OURS = """
    n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_toast%'
    AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_depend e
        WHERE e.classid = 'pg_catalog.pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e'
    )
"""
_TABLES = f"""
    SELECT n.nspname, c.relname FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND {_OURS} ORDER BY 1, 2
"""  # noqa: S608 - of two constants
_VIEWS = f"""
    SELECT n.nspname, c.relname FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'm' AND NOT c.relispopulated AND {_OURS} ORDER BY 1, 2
"""  # noqa: S608 - likewise
_INDEXES = f"""
    SELECT n.nspname, c.relname FROM pg_catalog.pg_index i
    JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE NOT (i.indisvalid AND i.indisready AND i.indislive) AND {_OURS} ORDER BY 1, 2
"""  # noqa: S608 - likewise
_CONSTRAINTS = f"""
    SELECT n.nspname, c.relname, k.conname FROM pg_catalog.pg_constraint k
    JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE NOT k.convalidated AND {_OURS} ORDER BY 1, 2, 3
"""  # noqa: S608 - likewise
# A sequence feeds a column that owns it, or whose default takes its next value.
_SEQUENCES = f"""
    SELECT DISTINCT sn.nspname, s.relname, n.nspname, c.relname, a.attname, q.seqincrement
    FROM (
        SELECT objid AS sequence, refobjid AS owner, refobjsubid AS number
        FROM pg_catalog.pg_depend
        WHERE classid = 'pg_catalog.pg_class'::regclass
            AND refclassid = 'pg_catalog.pg_class'::regclass
            AND deptype IN ('a', 'i') AND refobjsubid > 0
        UNION
        SELECT d.refobjid, f.adrelid, f.adnum FROM pg_catalog.pg_depend d
        JOIN pg_catalog.pg_attrdef f ON f.oid = d.objid
        WHERE d.classid = 'pg_catalog.pg_attrdef'::regclass
            AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.deptype = 'n'
            AND pg_catalog.pg_get_expr(f.adbin, f.adrelid) LIKE '%nextval(%'
    ) fed
    JOIN pg_catalog.pg_class s ON s.oid = fed.sequence AND s.relkind = 'S'
    JOIN pg_catalog.pg_sequence q ON q.seqrelid = s.oid AND NOT q.seqcycle
    JOIN pg_catalog.pg_namespace sn ON sn.oid = s.relnamespace
    JOIN pg_catalog.pg_class c ON c.oid = fed.owner AND c.relkind IN ('r', 'p')
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = fed.number
    JOIN pg_catalog.pg_type t ON t.oid = a.atttypid AND t.typcategory = 'N'
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE {_OURS} ORDER BY 1, 2, 3, 4, 5
"""  # noqa: S608 - likewise


class Table(NamedTuple):
    """A table of the restored database."""

    schema: str
    name: str

    @property
    def shown(self) -> str:
        """As people write it: without its schema where that is ``public``."""
        return self.name if self.schema == "public" else f"{self.schema}.{self.name}"


class Catalog:
    """Asks one restored database.

    Args:
        connection: to it.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._sql = psycopg_module().sql

    def tables(self) -> list[Table]:
        """Its own tables, without partitions and those that belong to extensions."""
        return [Table(*row) for row in self._rows(_TABLES)]

    def count(self, table: Table, limit: int | None = None) -> int:
        """How many rows a table has; counted up to a limit."""
        source = self._sql.SQL("{}").format(self._sql.Identifier(*table))
        if limit is not None:
            source = self._sql.SQL("(SELECT FROM {} LIMIT {}) AS counted").format(
                source, self._sql.Literal(limit)
            )
        ((number,),) = self._rows(self._sql.SQL("SELECT count(*) FROM {}").format(source))
        return int(number)

    def _rows(self, query: Any) -> list[Any]:
        rows: list[Any] = self._connection.execute(query).fetchall()
        return rows

    def check(self, minimum_rows: Mapping[str, int], findings: Findings) -> None:
        """Note what is not as it should be."""
        tables = self.tables()
        self._check_rows(tables, minimum_rows, findings)
        self._check_sequences(findings)
        for query, name, text in (
            (_VIEWS, "view_unpopulated", "materialized views that can't be read"),
            (_INDEXES, "invalid_index", "indexes that are not valid"),
            (_CONSTRAINTS, "not_valid_constraint", "constraints that old rows were not held to"),
        ):
            if rows := self._rows(query):
                found = [_shown(row) for row in rows]
                findings.add(name, f"{text}, {len(found)} in all: {named(found)}")

    def _check_rows(
        self, tables: Sequence[Table], minimum_rows: Mapping[str, int], findings: Findings
    ) -> None:
        if not tables:
            findings.add("empty_restore", "there is no table in what was restored")
        elif not any(self.count(table, 1) for table in tables):
            findings.add("empty_restore", f"all {len(tables):,} tables are empty")
        for name, least in minimum_rows.items():
            table = _table_of(name, tables)
            if table is None:
                known = named([each.shown for each in tables]) or "none"
                findings.add("too_few_rows", f"there is no table {name}; there are: {known}")
            elif (rows := self.count(table, least)) < least:
                findings.add(
                    "too_few_rows", f"{name} has {rows:,} rows, and should have at least {least:,}"
                )

    def _check_sequences(self, findings: Findings) -> None:
        behind = []
        for schema, name, table_schema, table, column, increment in self._rows(_SEQUENCES):
            ((last, called),) = self._rows(
                self._sql.SQL("SELECT last_value, is_called FROM {}").format(
                    self._sql.Identifier(schema, name)
                )
            )
            most = self._sql.SQL("max" if increment > 0 else "min")
            ((furthest,),) = self._rows(
                self._sql.SQL("SELECT {}({}) FROM {}").format(
                    most,
                    self._sql.Identifier(column),
                    self._sql.Identifier(table_schema, table),
                )
            )
            following = last + increment if called else last
            if furthest is not None and (furthest - following) * (1 if increment > 0 else -1) >= 0:
                owner = f"{Table(table_schema, table).shown}.{column}"
                behind.append(
                    f"{Table(schema, name).shown} gives {following} next, and {owner} has "
                    f"{furthest} already"
                )
        if behind:
            findings.add("sequence_behind", f"inserts will collide: {named_long(behind)}")


def named_long(sentences: Sequence[str]) -> str:
    """The first few of some clauses, and how many more there are."""
    first = "; ".join(sentences[:5])
    more = len(sentences) - 5
    return f"{first}; … {more} more" if more > 0 else first


def _shown(row: Iterable[str]) -> str:
    schema, *names = row
    return ".".join(names if schema == "public" else [schema, *names])


def _table_of(name: str, tables: Iterable[Table]) -> Table | None:
    """A table by its name, with its schema, or alone where one schema has it."""
    tables = list(tables)
    for table in tables:
        if name in {table.shown, f"{table.schema}.{table.name}"}:
            return table
    alone = [table for table in tables if table.name == name]
    return alone[0] if len(alone) == 1 else None
