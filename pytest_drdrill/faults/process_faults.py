"""Faults on processes that the drill itself started."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_drdrill.faults import processes
from pytest_drdrill.faults.base import Injector
from pytest_drdrill.faults.restart import Restart, RestartedProcess
from pytest_drdrill.faults.throttle import Throttle

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from pytest_drdrill.faults.fault import Fault
    from pytest_drdrill.faults.processes import Child


class ProcessFaults(Injector):
    """Faults on processes; of others than the drill's own children, none."""

    def kill_process(self, process: Child) -> Fault:
        """Crash: SIGKILL to a child that this drill started; returns when it is dead.

        What it had started lives on; see ``kill_tree``. It can't be undone. Disaster type:
        ``technical``.

        Raises:
            FaultError: it had ended already.
        """
        processes.kill(process)
        return self._applied(f"killed process {process.pid}")

    def kill_tree(self, process: Child) -> Fault:
        """Power loss: SIGKILL to a child and all that descend from it, at one moment.

        Those too that lead a session of their own, as the children of PostgreSQL do; returns when
        all are dead. It can't be undone. Disaster type: ``infrastructure``.

        Raises:
            FaultError: it had ended already, or one of them did not die.
        """
        count = processes.kill_tree(process)
        return self._applied(f"killed process {process.pid} and its tree, {count} processes")

    def pause_process(self, process: Child) -> Fault:
        """Freeze: SIGSTOP to a child that this drill started; undone by SIGCONT.

        It is undone even where pytest itself is killed. Disaster type: ``technical``.

        Raises:
            FaultError: it had ended already, ends meanwhile, or is paused already.
        """
        return self._pause(process, whole=False)

    def pause_tree(self, process: Child) -> Fault:
        """Freeze of a whole service: SIGSTOP to a child and all that descend from it.

        Connections stay open, and nothing answers. Undone by SIGCONT to each of them, even where
        pytest itself is killed. Disaster type: ``technical``.

        Raises:
            FaultError: it had ended already, ends meanwhile, or is paused already.
        """
        return self._pause(process, whole=True)

    def restart_process(
        self,
        process: Child,
        start: Callable[[], Child] | None = None,
        *,
        grace: str | timedelta = "10s",
    ) -> RestartedProcess:
        """Restart, as by who deploys: SIGTERM to a child that this drill started, and a new one.

        The new one, the result's ``process``, has the old one's arguments, environment, folder and
        streams: what was read from ``child.stdout`` is read from ``process.stdout`` from then on.
        What else the old one was started with, as another user or open sockets, is not known: then
        pass ``start``. Where the old one ends within ``grace``, so does, by SIGKILL, what it leaves
        of all that descends from it; else all of them are killed, and a paused one always is.
        Other faults on the old one do not hold for the new one. Undone by the end of the new one,
        even where pytest itself is killed. Disaster type: ``technical``.

        Args:
            process: the child.
            start: starts the new one and returns it, a ``subprocess.Popen``.
            grace: how long the old one may take to end; ``"0s"`` kills it at once.

        Raises:
            FaultNotPermitted: this machine does not tell how a process was started; pass ``start``.
            FaultError: it had ended already, it is not known how to start it, or the new one did
                not start.
        """
        if start is None:
            self._require("restart_process")
        restart = Restart(process, start, grace)
        what = f"restarted process {process.pid}"
        undo = self._break(what, [], lambda: restart.strike(self._owe, self._tell), restart.undo)
        self._tell(restart.told(), "restarted")
        return RestartedProcess(what, undo, restart.process, process.returncode, restart.away)

    def slow_process(self, process: Child, cpu: float = 0.1) -> Fault:
        """Overload: a child and all that descend from it get so much of a core; undone at the end.

        By a control group of the kernel (cgroup, version 1 or 2), which takes root's rights. Who
        descends from it later is in it too. Disaster type: ``technical``.

        Args:
            process: the child.
            cpu: its share of one core; at least 0.01.

        Raises:
            FaultNotPermitted: this machine has no control groups that we may make.
            FaultError: it had ended already, or ``cpu`` is no share.
        """
        slow = Throttle(process, cpu)
        what = f"slowed process {process.pid} and its tree down to {slow.share:g} of a core"
        return self._applied(what, self._break(what, [slow.owed], slow.strike, slow.undo))

    def _pause(self, process: Child, *, whole: bool) -> Fault:
        pause = processes.Pause(process, whole=whole)
        what = f"paused process {process.pid}" + " and its tree" * whole
        undo = self._break(what, [], lambda: pause.strike(self._owe), pause.undo)
        return self._applied(what + f", {pause.count} processes" * whole, undo)
