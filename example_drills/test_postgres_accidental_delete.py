"""Somebody deletes all orders, and commits; they come back as they were just before.

The server archives what it writes, beside a base backup. It is restored into a new one, up to the
transaction before the mistake: what was there before is there, and what came after is not. Which
transaction that was, its log or its WAL says; here the operator who made it does.
"""

import pytest

pytestmark = [pytest.mark.dr_service("orders"), pytest.mark.dr_tier("critical")]


@pytest.mark.disaster("human_error")
def test_orders_come_back_as_they_were_before_the_delete(
    postgres_primary, postgres_archive, drill, rto_timer, rpo_timer
):
    server = postgres_primary
    server.query("create table orders (id int primary key, item text)")
    server.query("insert into orders select n, 'pump ' || n from generate_series(1, 5000) n")
    before = server.query("select count(*), md5(string_agg(item, ',' order by id)) from orders")

    with rto_timer.outage():
        mistake = server.mistake("delete from orders")
        server.query("insert into orders values (5001, 'came after the mistake')")
        restored = postgres_archive.restore_to(mistake.xid)
        query = "select count(*), md5(string_agg(item, ',' order by id)) from orders"
        assert restored.query(query) == before  # all that was there before, and nothing from after
    assert server.query("select id from orders") == [(5001,)]
    rpo_timer.recovered_to(restored.recovery_point)
    drill.metric("orders brought back", mistake.rows)
