"""Fence, promote, switch: their order, their proof, and what becomes of a switch done in part."""

import asyncio
import re

import pytest
from failover_site import Site, told
from failover_world import down_between, endpoint, in_virtual_time, script
from hypothesis import example, given
from hypothesis import strategies as st

from pytest_drdrill.failover import (
    FailoverFailed,
    FailoverManager,
    Fencer,
    FencingProof,
    Promoter,
    TrafficSwitch,
    WeightedSwitch,
)

STEPS = ("fence", "promote", "activate", "deactivate")
MOVES = ("failover", "failback", "failover_failed", "failover_undone", "no_healthy_endpoint")
DIES = script("+---")
BACK = script("+---+")


def run(site, seconds, names="ab", **settings):
    """A manager's life over a site; returns it."""

    async def main():
        manager = site.manager(names, **settings)
        async with manager:
            await asyncio.sleep(seconds)
        return manager

    return in_virtual_time(main)


def test_a_start_tells_the_switch_where_traffic_goes_and_nobody_else():
    site = Site("a")

    async def main():
        async with site.manager("abc") as manager:
            assert site.served == {"a"}  # when the start returns, it is so
            await asyncio.sleep(100)
        return manager

    manager = in_virtual_time(main)
    assert site.log == [("deactivate", "b"), ("deactivate", "c"), ("activate", "a")]
    assert told(manager, *MOVES) == []


def test_a_start_whose_switch_fails_says_so_and_tries_again():
    site = Site("a", activate=["fails"])
    manager = run(site, 15)
    assert told(manager, *MOVES) == [(0, "failover_failed", ("a", "a"))]
    assert site.served == {"a"}
    assert site.log[-2:] == [("activate", "a"), ("activate", "a")]


def test_fence_promote_switch_in_that_order_and_then_it_is_named():
    site = Site("a", takes=1.0)

    async def main():
        async with site.manager(a=DIES) as manager:
            start = len(site.log)
            manager.add_failover_callback(lambda *_: site.log.append(("named", "b")))
            await manager.wait_until_active("b")
            assert asyncio.get_running_loop().time() == 34
        return manager, site.log[start:]

    manager, log = in_virtual_time(main)
    assert log == [
        ("fence", "a"),
        ("promote", "b"),
        ("deactivate", "a"),
        ("activate", "b"),
        ("named", "b"),
    ]
    assert (site.accepting, site.served, site.most_accepting) == ({"b"}, {"b"}, 1)
    events = [(each.monotonic, each.kind, each.endpoint, each.reason) for each in manager.events]
    assert (31, "endpoint_fenced", "a", "write refused: it said no") in events
    assert (32, "endpoint_promoted", "b", "") in events
    assert (34, "traffic_switched", "b", "") in events


@pytest.mark.parametrize(
    ("step", "word", "why"),
    [
        ("fence", "fails", "fencing a failed: fence of a broke"),
        ("fence", "hangs", "fencing a failed: not done within 3s"),
        ("fence", "hangs late", "fencing a failed: not done within 3s"),
        ("fence", "late", "fencing a failed: not done within 3s"),
        ("fence", "unproven", "fencing a failed: no proof; a fencer returns a FencingProof, not"),
        ("promote", "fails", "promoting b failed: promote of b broke"),
        ("promote", "fails late", "promoting b failed: promote of b broke"),
        ("promote", "hangs", "promoting b failed: not done within 3s"),
        ("promote", "late", "promoting b failed: not done within 3s"),
        ("activate", "fails", "activating b failed: activate of b broke"),
        ("activate", "hangs late", "activating b failed: not done within 3s"),
        ("deactivate", "fails late", "deactivating a failed: deactivate of a broke"),
        ("deactivate", "hangs", "deactivating a failed: not done within 3s"),
    ],
)
def test_a_step_that_fails_stops_the_takeover_and_is_retried(step, word, why):
    site = Site("a")

    async def main():
        async with site.manager(a=DIES) as manager:
            await asyncio.sleep(25)
            del site.log[:]
            site.faults[step] = [word]
            await asyncio.sleep(9)
            assert manager.get_active_endpoint().name == "a"
            (failed,) = [each for each in manager.events if each.kind == "failover_failed"]
            assert (failed.old, failed.new) == ("a", "b")
            assert failed.reason.startswith(f"a is unhealthy; but {why}")
            assert site.log[-1][0] == step  # and nothing after it
            await manager.wait_until_active("b", timeout="20s")
        return manager

    manager = in_virtual_time(main)
    assert (site.accepting, site.served, site.most_accepting) == ({"b"}, {"b"}, 1)
    done = [each for each in site.log if each[0] == "fence"]
    assert len(done) == (2 if step == "fence" else 1)  # what is proven is not done again
    assert manager.get_active_endpoint().name == "b"


def test_a_failover_in_part_is_undone_when_the_old_one_is_back_before_it_is_done():
    site = Site("a", promote=["fails late", "fails", "fails", "fails"])
    manager = run(site, 300, a=BACK)  # a is back at 50; whether b was promoted, nobody knows
    assert told(manager, *MOVES) == [
        (30, "failover_failed", ("a", "b")),
        (40, "failover_failed", ("a", "b")),
        (50, "failover_failed", ("a", "b")),
        (50, "failover_failed", ("a", "a")),  # the undoing promotes a, and that fails too
        (60, "failover_undone", ("b", "a")),
    ]
    assert site.log[-4:] == [("promote", "b"), ("fence", "b"), ("promote", "a"), ("promote", "a")]


def test_a_failback_that_fails_is_undone_at_once_and_tried_ever_more_rarely():
    site = Site("a")

    async def main():
        async with site.manager(a=BACK) as manager:
            await manager.wait_until_active("b")
            del site.log[:]
            site.faults["promote"] = ["fails", "ok"] * 4  # to a it fails, back to b it does not
            await asyncio.sleep(400)
        return manager

    manager = in_virtual_time(main)
    assert told(manager, *MOVES)[1:] == [
        *((50, "failover_failed", ("b", "a")), (50, "failover_undone", ("a", "b"))),
        *((60, "failover_failed", ("b", "a")), (60, "failover_undone", ("a", "b"))),
        *((80, "failover_failed", ("b", "a")), (80, "failover_undone", ("a", "b"))),
        *((120, "failover_failed", ("b", "a")), (120, "failover_undone", ("a", "b"))),
        (200, "failback", ("b", "a")),
    ]
    assert site.log[:4] == [("fence", "b"), ("promote", "a"), ("fence", "a"), ("promote", "b")]
    assert (site.accepting, site.served, site.most_accepting) == ({"a"}, {"a"}, 1)


def test_an_operators_failback_that_fails_is_undone_too():
    site = Site("a")

    async def main():
        async with site.manager(a=BACK, failback="manual") as manager:
            await manager.wait_until_active("b")
            await asyncio.sleep(50)
            site.faults["activate"] = ["fails"]
            with pytest.raises(FailoverFailed, match="activating a failed: activate of a broke"):
                await manager.failback()
            await asyncio.sleep(1)
            assert (site.accepting, site.served) == ({"b"}, {"b"})
            await manager.failback()
            assert (site.accepting, site.served) == ({"a"}, {"a"})

    in_virtual_time(main)
    assert site.most_accepting == 1


def test_what_a_stop_cut_short_is_finished_after_the_next_start():
    site = Site("a", takes=2.0)

    async def main():
        manager = site.manager(a=DIES)
        async with manager:
            await asyncio.sleep(28)  # a start takes 4 s here, so it is 32: a is being fenced
        assert site.log[-1] == ("fence", "a")
        assert manager.get_active_endpoint().name == "a"
        async with manager:
            await manager.wait_until_active("b")
        return manager

    in_virtual_time(main)
    assert (site.accepting, site.served, site.most_accepting) == ({"b"}, {"b"}, 1)


def test_with_nobody_healthy_traffic_is_taken_away_and_comes_back_to_who_leads():
    site = Site("a")
    manager = run(site, 200, a=down_between(5, 100), b=down_between(5, 150))
    assert told(manager, *MOVES) == [
        (30, "no_healthy_endpoint", ("a", None)),
        (110, "failover", (None, "a")),
    ]
    # Nobody took over from a, so it was neither fenced nor is it promoted.
    assert site.log == [
        ("deactivate", "b"),
        ("activate", "a"),
        ("deactivate", "a"),
        ("activate", "a"),
    ]


def test_with_traffic_that_cannot_be_taken_away_the_old_one_stays_named():
    site = Site("a")

    async def main():
        async with site.manager("a", a=down_between(5, 900)) as manager:
            site.faults["deactivate"] = ["fails", "ok"]
            await asyncio.sleep(35)
            assert manager.get_active_endpoint().name == "a"
            await asyncio.sleep(10)
            assert manager.get_active_endpoint() is None
        return manager

    manager = in_virtual_time(main)
    assert told(manager, *MOVES) == [
        (30, "failover_failed", ("a", None)),
        (40, "no_healthy_endpoint", ("a", None)),
    ]


def test_one_that_is_unhealthy_by_the_time_it_would_be_promoted_is_left():
    site = Site("a")

    async def main():
        manager = site.manager("abc", failure_threshold=1, step_timeout="20s", a=script("+-"))
        async with manager:
            site.takes = 12.0
            await asyncio.sleep(11)  # a is being fenced, until 22; a check of b comes before
            manager._prober.fate["b"] = "refused"
            await manager.wait_until_active("c")
        return manager

    manager = in_virtual_time(main)
    (failed,) = [each for each in manager.events if each.kind == "failover_failed"]
    assert (failed.monotonic, failed.old, failed.new) == (22, "a", "b")
    assert failed.reason == "a is unhealthy; but b became unhealthy before it was promoted"
    assert ("promote", "b") not in site.log


def test_without_a_fencer_nobody_is_fenced_and_the_switch_alone_decides():
    site = Site("a")
    manager = run(site, 100, a=BACK, fencer=None, promoter=None)
    assert {step for step, _ in site.log} == {"activate", "deactivate"}
    assert told(manager, *MOVES) == [(30, "failover", ("a", "b")), (50, "failback", ("b", "a"))]
    assert site.served == {"a"}


_WORDS = st.sampled_from(["ok", "ok", "fails", "fails late", "hangs", "hangs late", "late"])
_FAULTS = st.fixed_dictionaries(
    {step: st.lists(_WORDS, max_size=6) for step in STEPS}
    | {"fence": st.lists(_WORDS | st.just("unproven"), max_size=6)}
)
_DOWN = st.lists(st.tuples(st.integers(0, 300), st.integers(1, 200)), max_size=3)


def _fate(spans):
    return lambda _, now: (
        "refused" if any(begin <= now < begin + lasts for begin, lasts in spans) else "up"
    )


@given(
    faults=_FAULTS,
    fates=st.lists(_DOWN, min_size=3, max_size=3),
    takes=st.sampled_from([0.0, 1.0, 2.9]),
    failback=st.sampled_from(["automatic", "manual"]),
    stops=st.sampled_from([None, 33, 61, 95]),
)
@example({"promote": ["fails late"] * 3, "fence": []}, [[(0, 60)], [], []], 0.0, "automatic", None)
@example({"activate": ["hangs late"] * 3}, [[(0, 60)], [(40, 90)], []], 1.0, "automatic", 33)
def test_never_do_two_accept_work_and_at_last_traffic_is_where_the_manager_says(
    faults, fates, takes, failback, stops
):
    site = Site("a", takes=takes, **faults)

    async def main():
        named = []

        def on_event(event):
            if event.kind in ("failover", "failback"):
                named.append(event.new)
                # Named last of all: by now it leads and serves, and nobody else does.
                assert site.accepting == site.served == {event.new}

        settings = dict(zip("abc", map(_fate, fates), strict=True))
        manager = site.manager("abc", failback=failback, on_event=on_event, **settings)
        if stops is not None:
            async with manager:
                await asyncio.sleep(stops)
        async with manager:
            await asyncio.sleep(1500)  # by then all is well, and every fault has been met
        active = manager.get_active_endpoint()
        assert active is not None
        assert site.accepting == site.served == {active.name}
        assert site.most_accepting == 1
        if failback == "automatic" and not any(site.faults.values()):
            assert active.name == "a"

    in_virtual_time(main)


# What is refused.


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"promoter": Site("a")}, ValueError, "a promoter needs a fencer"),
        ({"fencer": object()}, TypeError, "fencer must have fence(endpoint), asynchronous"),
        ({"fencer": Site}, TypeError, "fencer must have fence(endpoint)"),
        ({"promoter": 3, "fencer": Site("a")}, TypeError, "promoter must have promote(endpoint)"),
        ({"switch": "lb"}, TypeError, "switch must have activate(endpoint), deactivate(endpoint)"),
        ({"step_timeout": "0s"}, ValueError, "step_timeout must be above zero"),
        ({"step_timeout": 5}, TypeError, "step_timeout: 5 has no unit"),
    ],
)
def test_a_bad_part_is_one_clear_sentence(settings, error, message):
    with pytest.raises(error, match=re.escape(message)) as caught:
        FailoverManager([endpoint("a"), endpoint("b")], **settings)
    assert "\n" not in str(caught.value)


def test_a_proof_says_what_was_seen():
    assert FencingProof("process_dead", "pid 7 is gone").kind == "process_dead"
    with pytest.raises(
        ValueError, match="'process_dead', 'lease_expired', 'write_refused', not 'x'"
    ):
        FencingProof("x", "seen")
    for empty in ("", " ", None):
        with pytest.raises(ValueError, match="says what was seen"):
            FencingProof("process_dead", empty)


def test_a_site_is_all_of_the_protocols_but_the_weights():
    site = Site("a")
    for protocol in (Fencer, Promoter, TrafficSwitch):
        assert isinstance(site, protocol)
    assert not isinstance(site, WeightedSwitch)
