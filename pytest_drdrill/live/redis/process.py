"""One process of Redis, be it a server or a Sentinel: started, broken and ended as scratch."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pytest_drdrill.durations import format_duration, format_seconds, parse_duration
from pytest_drdrill.faults import Fault
from pytest_drdrill.live.closing import Closing
from pytest_drdrill.live.errors import ServerFailed
from pytest_drdrill.live.ports import start_on_free_port
from pytest_drdrill.live.redis.binaries import redis_binary, redis_package, within_reach
from pytest_drdrill.live.server import ScratchServer

if TYPE_CHECKING:
    from collections.abc import Callable

HOST = "127.0.0.1"
_POLL = 0.01
_GREETING = "500ms"
"""How long its port may be silent at the start: it may be another one's, who does not answer."""
_PORT_TAKEN = "address already in use"


class RedisProcess(Closing):
    """What servers and Sentinels have in common; they say how each is set up.

    It listens on the loopback only, without a password: nothing but a drill's own scratch belongs
    in it.

    Args:
        name: what events and messages call it.
        announce: told of each fault as it strikes and as it is undone, e.g. for a timeline.

    Attributes:
        name: as given.
        port: that it listens on, from its first start on the same.

    Raises:
        ComponentMissing: the machine has no Redis, or Python no package to speak to it.
    """

    _arguments: tuple[str, ...] = ()

    def __init__(self, name: str, *, announce: Callable[[str, str], None] | None = None) -> None:
        redis_package()
        binary = redis_binary()
        self.name = name
        self.port = 0
        self._announce = announce
        self._scratch = ScratchServer(name)
        try:
            self._binary = within_reach(binary, self._scratch.account, self._scratch.folder)
        except BaseException:
            self._scratch.close()
            raise

    def _settings(self) -> dict[str, str]:
        """Its configuration beside where it listens and what it owns, by directive."""
        raise NotImplementedError

    # -- its life -------------------------------------------------------------------------------

    def start(self) -> None:
        """Start it, and wait until it answers; again after ``kill`` or ``stop``, with its files.

        Raises:
            ServerFailed: it runs already, or did not start; the message has the end of its log.
        """
        if self.port:
            self._start()
            return
        try:
            start_on_free_port(self._start_first, taken=_PORT_TAKEN)
        except ServerFailed:
            self.port = 0
            raise

    def _start_first(self, port: int) -> None:
        self.port = port
        self._configure()
        self._start()

    def _start(self) -> None:
        command = [self._binary, "redis.conf", *self._arguments]
        self._scratch.start(command, self._answers)

    def _configure(self) -> None:
        own = {
            "bind": HOST,
            "port": str(self.port),
            "protected-mode": "yes",
            "daemonize": "no",
            "dir": str(self._scratch.folder),
        }
        # A file, since a failover rewrites it: who starts again has the part that it was given.
        path = self._scratch.folder / "redis.conf"
        lines = [f"{name} {value}\n" for name, value in (own | self._settings()).items()]
        path.write_text("".join(lines), encoding="utf-8")
        account = self._scratch.account
        if not account.is_us:
            os.chown(path, account.uid, account.gid)

    def _answers(self) -> bool:
        process = self._scratch.process
        try:
            found = self.info(timeout=_GREETING)
        except redis_package().RedisError:
            return False
        # While it loads its data it says so, and takes no other command.
        is_it = process is not None and found["process_id"] == process.pid
        return is_it and not found.get("loading")

    def kill(self) -> Fault:
        """Crash: SIGKILL; returns when it is dead. ``start`` is what brings it back.

        Raises:
            ServerFailed: it does not run, so there is nothing to break.
        """
        if not self._scratch.is_running:
            raise ServerFailed(f"{self.name} does not run, so there is nothing to kill")
        self._scratch.kill()
        return self._applied(f"killed {self}")

    def pause(self) -> Fault:
        """Freeze: SIGSTOP; its connections stay open, and nothing answers until ``resume``.

        Raises:
            ServerFailed: it does not run.
        """
        self._scratch.pause()
        return self._applied(f"paused {self}", self.resume)

    def resume(self) -> None:
        """Let it go on: SIGCONT; nothing happens where it does not run."""
        was_paused = self._scratch.is_paused
        self._scratch.resume()
        if was_paused and self._announce is not None:
            self._announce("fault undone", f"paused {self}")

    def stop(self) -> None:
        """Ask it to end, and wait: it saves what it has."""
        self._scratch.stop()

    def restart(self) -> timedelta:
        """Ask it to end, which saves what it has, and start it again with its files.

        One that is paused, or does not end within 30 s, is killed; one that does not run is
        started.

        Returns:
            How long it was away: from the signal until it answered again.

        Raises:
            ServerFailed: it did not start.
        """
        began = time.monotonic()
        if self.is_running and self._announce is not None:
            self._announce("fault", f"restarting {self}")
        self.stop()
        self.start()
        away = timedelta(seconds=time.monotonic() - began)
        if self._announce is not None:
            self._announce("restarted", f"{self}, after {format_duration(away)}")
        return away

    def close(self) -> None:
        """End it, and remove its files; again, nothing happens."""
        self._scratch.close()

    @property
    def is_running(self) -> bool:
        """Whether its process is there, paused or not."""
        return self._scratch.is_running

    @property
    def is_paused(self) -> bool:
        """Whether it was paused, and not resumed since."""
        return self._scratch.is_paused

    @property
    def pid(self) -> int | None:
        """The number of its process, or None where it does not run."""
        process = self._scratch.process
        return process.pid if process is not None and self.is_running else None

    @property
    def log(self) -> str:
        """The end of what it wrote since its last start."""
        return self._scratch.tail()

    def _begin(self) -> None:
        self.start()

    def __repr__(self) -> str:
        return f"{self.name} on port {self.port}"

    # -- speaking to it -------------------------------------------------------------------------

    @property
    def address(self) -> str:
        """Where it listens, as ``host:port``."""
        return f"{HOST}:{self.port}"

    def query(self, *command: str | bytes | float, timeout: str | timedelta = "5s") -> Any:
        """Send one command, and give its answer, as redis-py has it; texts are decoded.

        Args:
            command: its words, such as ``"GET", "orders"``.
            timeout: how long the answer may take.

        Raises:
            redis.RedisError: it can't be reached, or refused.
        """
        __tracebackhide__ = True
        redis = redis_package()
        seconds = parse_duration(timeout).total_seconds()
        client = redis.Redis(
            host=HOST,
            port=self.port,
            socket_timeout=seconds,
            socket_connect_timeout=seconds,
            retry=redis.retry.Retry(redis.backoff.NoBackoff(), 0),  # once, or who knows how often
            protocol=2,
            decode_responses=True,
        )
        try:
            with client:
                return client.execute_command(*command)
        except redis.RedisError as error:  # which points at whoever asked
            raise error.with_traceback(None) from None

    def info(self, section: str = "default", *, timeout: str | timedelta = "5s") -> dict[str, Any]:
        """What it says of itself, as ``INFO`` does.

        Raises:
            redis.RedisError: it can't be reached.
        """
        __tracebackhide__ = True
        found: dict[str, Any] = self.query("INFO", section, timeout=timeout)
        return found

    # -- for its kinds --------------------------------------------------------------------------

    def _applied(self, what: str, undo: Callable[[], None] | None = None) -> Fault:
        if self._announce is not None:
            self._announce("fault", what)
        return Fault(what, undo)


def wait_until(
    is_so: Callable[[], bool], timeout: str | timedelta, what: Callable[[], str]
) -> None:
    """Wait for what processes of Redis bring about by themselves.

    Args:
        is_so: whether they have; an error of the package ``redis`` says no.
        timeout: how long that may take.
        what: says what is missing, for the message.

    Raises:
        ServerFailed: it did not come about in time.
    """
    seconds = parse_duration(timeout).total_seconds()
    error_of_redis = redis_package().RedisError
    deadline = time.monotonic() + seconds
    while True:
        try:
            if is_so():
                return
        except error_of_redis:
            pass
        if time.monotonic() > deadline:
            raise ServerFailed(f"{what()} within {format_seconds(seconds)}")
        time.sleep(_POLL)
