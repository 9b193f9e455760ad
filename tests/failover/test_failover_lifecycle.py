"""Starting, stopping, waiting, observing; and a monitor that breaks is never taken for one."""

import asyncio
import gc

import pytest
from failover_world import (
    MemoryProber,
    VirtualClock,
    VirtualLoop,
    endpoint,
    in_virtual_time,
    script,
)

from pytest_drdrill.failover import (
    FailoverError,
    FailoverManager,
    FailoverTimeoutError,
    HealthStatus,
    MonitoringFailed,
    NotMonitoringError,
    ProbeResult,
)


def watch(prober, names="ab", **options):
    options.setdefault("check_interval", "10s")
    endpoints = [endpoint(each) if isinstance(each, str) else each for each in names]
    return FailoverManager(endpoints, prober=prober, clock=VirtualClock(), **options)


def only_this_task():
    return asyncio.all_tasks() == {asyncio.current_task()}


def kinds(manager):
    return [each.kind for each in manager.events]


# Starting and stopping.


def test_a_stop_ends_every_task_closes_the_prober_and_may_be_repeated():
    async def main():
        prober = MemoryProber(a="silent")
        manager = watch(prober, "abcdef")
        await manager.stop_monitoring()
        await manager.start_monitoring()
        assert manager.is_monitoring
        assert not only_this_task()
        await manager.stop_monitoring()
        assert not manager.is_monitoring
        assert only_this_task()
        assert (prober.opened, prober.closed) == (1, 1)
        await manager.stop_monitoring()
        assert prober.closed == 1
        assert manager.get_endpoint_status("b") is HealthStatus.HEALTHY
        assert kinds(manager).count("monitoring_stopped") == 1

    in_virtual_time(main)


def test_two_stops_at_once_both_wait_for_the_end():
    async def main():
        prober = MemoryProber()
        closing = asyncio.Event()

        async def close():
            await asyncio.sleep(5)
            closing.set()

        prober.close = close
        manager = watch(prober)
        await manager.start_monitoring()

        async def stop():
            await manager.stop_monitoring()
            assert closing.is_set()

        await asyncio.gather(stop(), stop())
        assert kinds(manager).count("monitoring_stopped") == 1

    in_virtual_time(main)


def test_starting_twice_is_an_error():
    async def main():
        async with watch(MemoryProber()) as manager:
            with pytest.raises(FailoverError, match="monitoring already"):
                await manager.start_monitoring()
            assert manager.is_monitoring

    in_virtual_time(main)


def test_a_start_that_fails_leaves_nothing_and_can_be_repeated():
    async def main():
        prober = MemoryProber()
        open_it = prober.open

        async def refuse():
            raise OSError("no sockets left")

        prober.open = refuse
        manager = watch(prober)
        with pytest.raises(OSError, match="no sockets left"):
            await manager.start_monitoring()
        assert prober.closed == 1
        assert only_this_task()
        assert not manager.is_monitoring
        prober.open = open_it
        async with manager:
            assert manager.is_monitoring

    in_virtual_time(main)


def test_a_start_that_is_cancelled_or_stopped_leaves_nothing():
    async def main():
        prober = MemoryProber(a="silent")
        manager = watch(prober)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await manager.start_monitoring()
        assert (prober.closed, only_this_task(), manager.is_monitoring) == (1, True, False)
        start = asyncio.create_task(manager.start_monitoring())
        await asyncio.sleep(1)
        await manager.stop_monitoring()
        with pytest.raises(NotMonitoringError, match="stopped meanwhile"):
            await start
        assert (prober.closed, only_this_task(), manager.is_monitoring) == (2, True, False)

    in_virtual_time(main)


def test_a_task_that_swallows_its_cancellation_is_cancelled_again():
    async def main():
        prober = MemoryProber()
        swallowed = []

        async def stubborn(_):
            while len(swallowed) < 3:
                try:
                    await asyncio.sleep(1000)
                except asyncio.CancelledError:
                    swallowed.append(1)
            return ProbeResult(healthy=True)

        async with watch(prober, [endpoint("a", timeout="20s")], check_interval="20s"):
            prober.probe = stubborn
            await asyncio.sleep(21)
        assert only_this_task()
        assert swallowed

    in_virtual_time(main)


def test_another_loop_is_told_so():
    manager = watch(MemoryProber())
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(manager.start_monitoring())
        for call in (manager.stop_monitoring, lambda: manager.wait_until_active("b")):
            with (
                asyncio.Runner(loop_factory=VirtualLoop) as other,
                pytest.raises(NotMonitoringError, match="another event loop"),
            ):
                other.run(call())
        runner.run(manager.stop_monitoring())


def test_a_stopped_manager_can_begin_anew_in_another_loop():
    manager = watch(MemoryProber(), failback="manual")

    async def main(dies, takes_over):
        manager._prober.fate = {dies: "refused"}
        moves = []
        manager.add_failover_callback(lambda _, new: moves.append(new.name))
        async with manager:
            await manager.wait_until_active(takes_over)
        assert moves == [takes_over]

    in_virtual_time(lambda: main("a", "b"))
    in_virtual_time(lambda: main("b", "a"))


# Waiting.


def test_waiting_ends_at_the_switch_at_once_when_active_or_in_time():
    async def main():
        loop = asyncio.get_running_loop()
        async with watch(MemoryProber(a=script("+---"))) as manager:
            await manager.wait_until_active("a")
            assert loop.time() == 0
            with pytest.raises(FailoverTimeoutError) as caught:
                await manager.wait_until_active("b", timeout="25s")
            assert loop.time() == 25
            assert str(caught.value) == (
                "b did not become active within 25s: active is a; a is healthy, b is healthy"
            )
            assert isinstance(caught.value, TimeoutError)
            standby = manager.endpoints[1]
            await asyncio.gather(*(manager.wait_until_active(standby) for _ in range(3)))
            assert loop.time() == 30
            with pytest.raises(ValueError, match="'c' is none of"):
                await manager.wait_until_active("c")
            with pytest.raises(ValueError, match="timeout: 'soon'"):
                await manager.wait_until_active("a", timeout="soon")
            with pytest.raises(FailoverTimeoutError):
                await manager.wait_until_active("a", timeout="0s")
            assert manager._switching._waiters == []

    in_virtual_time(main)


def test_nobody_waits_for_a_manager_that_is_not_monitoring():
    async def main():
        manager = watch(MemoryProber(), failback="manual")
        with pytest.raises(NotMonitoringError, match="only a manager that is monitoring can wait"):
            await manager.wait_until_active("b")
        with pytest.raises(NotMonitoringError, match="can fail back"):
            await manager.failback()
        await manager.start_monitoring()
        waiter = asyncio.create_task(manager.wait_until_active("b"))
        await asyncio.sleep(1)
        await manager.stop_monitoring()
        with pytest.raises(NotMonitoringError, match="stopped meanwhile"):
            await waiter

    in_virtual_time(main)


# Observing.


def test_callbacks_are_awaited_in_order_and_one_that_raises_stops_no_other():
    log = []

    async def slow(old, new):
        log.append(f"slow {old.name}-{new.name}")
        await asyncio.sleep(25)
        log.append("slow done")

    def raising(old, new):
        log.append(f"raising {old.name}-{new.name}")
        raise RuntimeError("the pager is down")

    async def main():
        prober = MemoryProber(a=script("+---++"))
        manager = watch(prober)
        manager.add_failover_callback(raising)
        manager.add_failover_callback(slow)
        manager.add_failover_callback(lambda old, new: log.append(f"last {old.name}-{new.name}"))
        async with manager:
            await manager.wait_until_active("b")
            await manager.wait_until_active("a")
            assert asyncio.get_running_loop().time() == 50  # no change waits for a callback
            await asyncio.sleep(101)
        assert prober.starts_of("b") == [10 * number for number in range(16)]  # and no check
        return manager

    manager = in_virtual_time(main)
    once = ["slow done"]
    assert log == [
        *("raising a-b", "slow a-b", *once, "last a-b"),
        *("raising b-a", "slow b-a", *once, "last b-a"),
    ]
    failed = [each for each in manager.events if each.kind == "callback_failed"]
    assert [(each.old, each.new) for each in failed] == [("a", "b"), ("b", "a")]
    assert failed[0].reason.endswith("raising raised RuntimeError('the pager is down')")


def test_callbacks_run_after_the_change_and_before_those_who_wait_go_on():
    async def main():
        seen = []
        async with watch(MemoryProber(a=script("+---"))) as manager:
            manager.add_failover_callback(
                lambda old, new: seen.append((new, manager.get_active_endpoint()))
            )
            await manager.wait_until_active("b")
            assert seen == [(manager.endpoints[1],) * 2]

    in_virtual_time(main)


def test_a_stop_lets_callbacks_finish_but_not_for_ever():
    async def main(takes):
        log = []

        async def callback(old, new):
            await asyncio.sleep(takes)
            log.append(new.name)

        manager = watch(MemoryProber(a=script("+---")))
        manager.add_failover_callback(callback)
        async with manager:
            await manager.wait_until_active("b")
        assert only_this_task()
        last = manager.events[-2]
        return log, asyncio.get_running_loop().time(), last.kind, last.reason

    log, ended, kind, _ = in_virtual_time(lambda: main(9))
    assert (log, ended, kind) == (["b"], 39, "failover")
    log, ended, kind, reason = in_virtual_time(lambda: main(9e9))
    assert (log, ended, kind) == ([], 40, "callback_failed")
    assert reason.endswith("callback was cancelled while it ran")


def test_a_callback_may_use_the_manager_but_not_stop_it():
    async def main():
        manager = watch(MemoryProber(a=script("+---+")), failback="manual")

        async def back(old, new):
            if new.name == "b":
                await asyncio.sleep(30)
                await manager.failback()
            else:
                await manager.stop_monitoring()

        manager.add_failover_callback(back)
        async with manager:
            await manager.wait_until_active("b")
            await manager.wait_until_active("a")
            await asyncio.sleep(1)
            assert manager.is_monitoring
        (failed,) = [each for each in manager.events if each.kind == "callback_failed"]
        assert "a callback can't stop the monitoring" in failed.reason

    in_virtual_time(main)


def test_a_callback_that_cancels_itself_is_a_failed_callback():
    async def main():
        async def callback(old, new):
            raise asyncio.CancelledError

        seen = []
        manager = watch(MemoryProber(a=script("+---")))
        manager.add_failover_callback(callback)
        manager.add_failover_callback(lambda old, new: seen.append(new.name))
        async with manager:
            await manager.wait_until_active("b")
            await asyncio.sleep(1)
        assert seen == ["b"]
        assert kinds(manager).count("callback_failed") == 1

    in_virtual_time(main)


def test_events_say_what_happened_when_and_why():
    async def main():
        told = []
        manager = watch(MemoryProber(a=script("+---+")), on_event=told.append)
        async with manager:
            await manager.wait_until_active("b")
            await manager.wait_until_active("a")
        assert manager.events == tuple(told)
        for each in told:
            assert each.moment.timestamp() - 946_684_800 == each.monotonic
        return [
            (each.monotonic, each.kind, each.endpoint, each.old, each.new, each.reason)
            for each in told
        ]

    assert in_virtual_time(main) == [
        (0, "monitoring_started", None, None, "a", ""),
        (0, "endpoint_healthy", "a", None, None, "1 good check in a row"),
        (0, "endpoint_healthy", "b", None, None, "1 good check in a row"),
        (
            *(30, "endpoint_unhealthy", "a", None, None),
            "3 failed checks in a row: connection refused",
        ),
        (30, "failover", None, "a", "b", "a is unhealthy"),
        (50, "endpoint_healthy", "a", None, None, "2 good checks in a row"),
        (50, "failback", None, "b", "a", "a is preferred over b, and healthy again"),
        (50, "monitoring_stopped", None, None, "a", ""),
    ]


# A monitor that breaks.


def test_a_broken_prober_ends_the_monitoring_and_everyone_is_told():
    async def main():
        prober = MemoryProber(b=lambda number, _: "broken" if number == 2 else "up")
        manager = watch(prober, failback="manual")
        await manager.start_monitoring()
        with pytest.raises(MonitoringFailed) as caught:
            await manager.wait_until_active("b")
        assert str(caught.value) == (
            "the failover monitor broke: TypeError('this prober is broken')"
        )
        assert isinstance(caught.value.__cause__, TypeError)
        assert asyncio.get_running_loop().time() == 20
        assert not manager.is_monitoring
        with pytest.raises(MonitoringFailed):
            await manager.failback()
        with pytest.raises(MonitoringFailed):
            await manager.stop_monitoring()
        assert (prober.closed, only_this_task()) == (1, True)
        assert kinds(manager)[-2:] == ["monitoring_failed", "monitoring_stopped"]
        await manager.stop_monitoring()

    in_virtual_time(main)


def test_a_prober_that_is_broken_from_the_start_fails_the_start():
    async def main():
        prober = MemoryProber(b="broken")
        with pytest.raises(MonitoringFailed, match="this prober is broken"):
            await watch(prober).start_monitoring()
        assert (prober.closed, only_this_task()) == (1, True)

    in_virtual_time(main)


def test_the_block_ends_with_the_failure_unless_it_has_one_of_its_own():
    async def main():
        prober = MemoryProber(b=lambda number, _: "broken" if number == 2 else "up")
        with pytest.raises(MonitoringFailed):
            async with watch(prober):
                await asyncio.sleep(100)
        with pytest.raises(KeyError) as caught:  # noqa: PT012 - the block is what is tested
            async with watch(MemoryProber(b=prober.fate["b"])):
                await asyncio.sleep(100)
                raise KeyError("own")
        assert caught.value.__notes__ == [
            "besides, the failover monitor broke: TypeError('this prober is broken')"
        ]

    in_virtual_time(main)


def test_an_on_event_that_raises_and_a_task_that_is_cancelled_are_failures_too():
    async def main():
        def on_event(event):
            if event.kind in ("endpoint_unhealthy", "monitoring_failed"):
                raise RuntimeError(f"can't write {event.kind}")

        with pytest.raises(MonitoringFailed, match="can't write endpoint_unhealthy") as caught:
            async with watch(MemoryProber(a=script("+---")), on_event=on_event):
                await asyncio.sleep(100)
        assert "can't write monitoring_failed" in caught.value.__cause__.__notes__[0]
        with pytest.raises(  # noqa: PT012 - the block is what is tested
            MonitoringFailed, match="'failover checks of b' was cancelled"
        ):
            async with watch(MemoryProber()):
                for task in asyncio.all_tasks():
                    if task.get_name() == "failover checks of b":
                        task.cancel()
                await asyncio.sleep(100)

    in_virtual_time(main)


def test_nothing_is_left_to_complain_about(recwarn):
    complaints = []

    async def main():
        asyncio.get_running_loop().set_exception_handler(lambda _, what: complaints.append(what))
        prober = MemoryProber(b=lambda number, _: "broken" if number == 2 else "up")
        manager = watch(prober)
        await manager.start_monitoring()
        waiter = asyncio.create_task(manager.wait_until_active("b"))
        await asyncio.sleep(1)
        waiter.cancel()
        await asyncio.sleep(99)
        with pytest.raises(MonitoringFailed):
            await manager.stop_monitoring()
        with pytest.raises(MonitoringFailed):
            await watch(MemoryProber(a="broken", b="broken")).start_monitoring()
        prober.open = None  # so that opening it is a TypeError
        with pytest.raises(TypeError):
            await watch(prober).start_monitoring()
        gc.collect()

    in_virtual_time(main)
    gc.collect()
    assert complaints == []
    assert list(recwarn) == []
