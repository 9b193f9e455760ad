"""A scratch HAProxy in front of a drill's own servers."""

from __future__ import annotations

import os
import signal
import socket
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from pytest_drdrill.live.account import server_account
from pytest_drdrill.live.closing import Closing
from pytest_drdrill.live.errors import ServerFailed
from pytest_drdrill.live.haproxy.answers import read_info
from pytest_drdrill.live.haproxy.config import BACKEND, read_settings
from pytest_drdrill.live.haproxy.traffic import HAProxyTraffic
from pytest_drdrill.live.ports import accepts, start_on_free_port
from pytest_drdrill.live.programs import program
from pytest_drdrill.live.server import ScratchServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from pytest_drdrill.failover.endpoint import ServiceEndpoint
    from pytest_drdrill.failover.presets.haproxy import HAProxyPreset
    from pytest_drdrill.live.haproxy.config import Standby

INSTALL = "apt-get install haproxy"
_START_S = 30.0
_ANSWER_S = 2.0
_PORT_TAKEN = "cannot bind"
_POLL_S = 0.005


class HAProxyServer(Closing):
    """An HAProxy of the drill's own, as an ordinary user, on a port of the loopback.

    It runs once it is made, and until ``close``. Its ``traffic`` is the switch for a manager or a
    cluster of the same endpoints.

    Its config lets no request fail while traffic moves: a connection that is refused or breaks
    without an answer, and an answer that does not come within ``answer_within``, are tried again,
    on whatever server is in then (``option redispatch 1``, ``retry-on``), for about ``patience``;
    while no server is in, requests wait. What may not be done twice, as a POST, is tried again only
    where it can't have reached a server; an answer that has begun to arrive, never.

    Args:
        endpoints: of http:// servers, the preferred one first, as a manager orders them.
        standby: what all but the first one are from the start: ``"out"`` (in maintenance: who
            switches traffic decides), ``"backup"`` (HAProxy sends traffic there when its own
            checks have the first one down) or ``"in"`` (they share the traffic).
        checks: HAProxy's own, as a preset says; by default none, and the manager alone decides.
        redispatch: whether requests are tried again. Without, each goes to one server, once.
        keep_state: whether a ``reload`` keeps what was switched (``server-state-file``).
        patience: how long a request is tried again, at least.
        answer_within: ``timeout server``.
        on_event: told what happens to it: what, and the detail.

    Attributes:
        endpoints: in their order.
        traffic: switches them; for other settings make an ``HAProxyTraffic`` of your own from
            ``socket``, ``backend`` and ``servers``.
        url: where clients ask, the path of the endpoints included.
        port: of the loopback, where it listens.
        socket: path of its stats socket.
        backend: the name of its backend.
        servers: by the endpoint's name, the name of its server.

    Raises:
        ComponentMissing: this machine has no HAProxy.
        ServerFailed: it did not start.
        TypeError: an argument of another type, or a duration without a unit.
        ValueError: endpoints that it can't stand before, or a choice that is none.
    """

    def __init__(  # noqa: PLR0913 - settings with defaults, by keyword
        self,
        endpoints: Iterable[ServiceEndpoint],
        *,
        standby: Standby = "out",
        checks: HAProxyPreset | None = None,
        redispatch: bool = True,
        keep_state: bool = False,
        patience: str | timedelta = "10s",
        answer_within: str | timedelta = "1s",
        on_event: Callable[[str, str], object] | None = None,
    ) -> None:
        self._settings = read_settings(
            endpoints,
            standby=standby,
            checks=checks,
            redispatch=redispatch,
            keep_state=keep_state,
            patience=patience,
            answer_within=answer_within,
        )
        self._on_event = on_event
        self._program = program("haproxy", INSTALL)
        self.endpoints = self._settings.endpoints
        self.servers = self._settings.servers
        self.backend = BACKEND
        self._server = ScratchServer("haproxy", server_account("haproxy"))
        folder = self._server.folder
        self.socket: Path = folder / "admin.sock"
        self._master = folder / "master.sock"
        self._config = folder / "haproxy.cfg"
        self._states = folder / "states"
        self.port = 0
        self.traffic = HAProxyTraffic(self.socket, BACKEND, self.servers)
        try:
            start_on_free_port(self._start_first, taken=_PORT_TAKEN)
        except BaseException:
            self._server.close()
            raise

    @property
    def url(self) -> str:
        """Where clients ask."""
        return f"http://127.0.0.1:{self.port}{self._settings.base}"

    @property
    def is_running(self) -> bool:
        """Whether its process is there, paused or not."""
        return self._server.is_running

    def start(self) -> None:
        """Start it again, on the port that it had; what was switched is forgotten.

        Raises:
            ServerFailed: it runs, or did not start.
        """
        self.socket.unlink(missing_ok=True)
        if not self._server.is_running:
            self._states.write_text("1\n", encoding="ascii")
            self._states.chmod(0o644)
        self._master.unlink(missing_ok=True)
        # With a master, for it can be reloaded then.
        master = f"{self._master},mode,600"
        command = [self._program, "-W", "-S", master, "-f", os.fspath(self._config)]
        self._server.start(command, self._is_ready, timeout=_START_S)
        self._tell("haproxy started", f"listens on port {self.port}")

    def kill(self) -> None:
        """SIGKILL to it, its master and its worker."""
        self._server.kill()
        self._tell("haproxy killed", f"port {self.port}")

    def restart(self) -> timedelta:
        """End it, which breaks its connections, and start it again; what was switched is forgotten.

        One that is paused is killed, one that does not run is started. ``reload`` breaks nothing.

        Returns:
            How long it was away: from the signal until it took connections again.

        Raises:
            ServerFailed: it did not start.
        """
        began = time.monotonic()
        if self.is_running:
            self._tell("haproxy restarting", f"port {self.port}")
        self._server.stop()
        self.start()
        return timedelta(seconds=time.monotonic() - began)

    def pause(self) -> None:
        """SIGSTOP to it: it takes connections, and answers nothing.

        Raises:
            ServerFailed: it does not run.
        """
        self._server.pause()
        self._tell("haproxy paused", f"port {self.port}")

    def resume(self) -> None:
        """SIGCONT to it; nothing happens where it does not run."""
        self._server.resume()
        self._tell("haproxy resumed", f"port {self.port}")

    def reload(self) -> None:
        """Have it read its config anew, as after a change; returns once the new process answers.

        What was switched is forgotten, unless ``keep_state``: then it is written down before, as
        who reloads such an HAProxy has to do. No request fails of it, and nobody is told.

        Raises:
            ServerFailed: it does not run, or no new process came.
        """
        process = self._server.process
        old = self._pid()
        if process is None or old is None:
            raise ServerFailed("haproxy does not answer, so it can't be reloaded")
        if self._settings.keep_state:
            self._states.write_text(_ask(self.socket, "show servers state"), encoding="ascii")
        process.send_signal(signal.SIGUSR2)
        deadline = time.monotonic() + _START_S
        while self._pid() in {None, old} or not self._has_master():
            if time.monotonic() > deadline or not self._server.is_running:
                raise ServerFailed(f"haproxy was not reloaded; its log:\n{self._server.tail()}")
            time.sleep(_POLL_S)
        kept = "kept" if self._settings.keep_state else "forgotten"
        self._tell("haproxy reloaded", f"what was switched is {kept}")

    def close(self) -> None:
        """End it and remove its files; again, nothing happens."""
        self._server.close()

    def _start_first(self, port: int) -> None:
        self.port = port
        text = self._settings.text(port, os.fspath(self.socket), os.fspath(self._states))
        self._config.write_text(text, encoding="ascii")
        self._config.chmod(0o644)  # for whoever it runs as, in a folder of its own
        self.start()

    def _is_ready(self) -> bool:
        return self._pid() is not None and accepts(self.port) and self._has_master()

    def _has_master(self) -> bool:
        """Whether its master takes orders: a signal that comes sooner is lost."""
        try:
            return "master" in _ask(self._master, "show proc")
        except OSError:
            return False

    def _pid(self) -> str | None:
        """The process that answers at the stats socket, a worker; None where none does."""
        try:
            return read_info(_ask(self.socket, "show info")).get("Pid")
        except OSError:
            return None

    def _tell(self, event: str, detail: str) -> None:
        if self._on_event is not None:
            self._on_event(event, detail)


def _ask(path: Path, command: str) -> str:
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(_ANSWER_S)
        link.connect(os.fspath(path))
        link.sendall(command.encode("ascii") + b"\n")
        answer = b""
        # A blank line ends it; the master would keep the connection.
        while not answer.endswith(b"\n\n") and (part := link.recv(65536)):
            answer += part
    return answer.decode("ascii", "replace")
