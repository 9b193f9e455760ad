"""A Redis or Valkey server that a drill starts here as scratch, primary or replica."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from pytest_drdrill.durations import parse_duration
from pytest_drdrill.live.errors import ServerFailed
from pytest_drdrill.live.redis.process import HOST, RedisProcess, wait_until
from pytest_drdrill.text import shown

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from pytest_drdrill.live.proxy import FaultProxy

AppendFsync: TypeAlias = Literal["always", "everysec", "no"]


class RedisServer(RedisProcess):
    """A server of its own folder, process and port, on the loopback; killed and started at will.

    What the fixtures ``redis_primary`` and ``redis_replica`` make; in a script, a context manager
    that starts it, and removes all of it at its end::

        with RedisServer(appendfsync="always") as server:
            server.query("SET", "order", "paid")

    Its data are in an append-only file, which it reads when it starts again. SIGKILL ends the
    process alone: what was written to that file is with the kernel, so the drill shows that the
    file is read back and whole, and nothing of what a power cut would cost with ``"everysec"``.

    Args:
        name: what events and messages call it.
        replica_of: the server that it follows from its first start on.
        through: leads to ``replica_of``: a ``FaultProxy`` that will break the link between the
            two, or ``(host, port)`` of anything else.
        appendonly: False keeps data in memory alone: what is killed has lost them all.
        appendfsync: when the file is on disk: with each write, before it is acknowledged; each
            second; or as the system pleases.
        min_replicas_to_write: refuse writes with fewer replicas than that, which fences a primary
            that was superseded: one that resumes after its replicas left it at once, one that was
            cut off as late as the next argument says, and a second more.
        min_replicas_max_lag: how long ago a replica may have been heard of, in whole seconds.
        announce: told of each fault as it strikes and as it is undone, e.g. for a timeline.

    Attributes:
        name: as given.
        port: that it listens on, from its first start on the same.
        through: the ``(host, port)`` of what leads to its primary, or None.
        followers: those that were made to follow it.

    Raises:
        ComponentMissing: the machine has no Redis, or Python no package to speak to it.
        TypeError: an argument of another type, or a duration without a unit.
        ValueError: an argument out of range.
    """

    def __init__(  # noqa: PLR0913 - each is a setting with a default, by keyword
        self,
        name: str = "redis",
        *,
        replica_of: RedisServer | None = None,
        through: FaultProxy | tuple[str, int] | None = None,
        appendonly: bool = True,
        appendfsync: AppendFsync = "everysec",
        min_replicas_to_write: int = 0,
        min_replicas_max_lag: str | timedelta = "1s",
        announce: Callable[[str, str], None] | None = None,
    ) -> None:
        if appendfsync not in get_args(AppendFsync):
            known = ", ".join(map(repr, get_args(AppendFsync)))
            raise ValueError(f"appendfsync must be one of {known}, not {shown(appendfsync)}")
        if type(min_replicas_to_write) is not int or min_replicas_to_write < 0:
            raise ValueError(
                f"min_replicas_to_write must be 0 or more, not {shown(min_replicas_to_write)}"
            )
        if through is not None and replica_of is None:
            raise ValueError("through= leads to a primary: name that with replica_of= as well")
        self._chosen = {
            "save": '""',
            "appendonly": "yes" if appendonly else "no",
            "appendfsync": appendfsync,
            # A replica that asks is sent the data at once, not after the 5 s that others may join.
            "repl-diskless-sync": "yes",
            "repl-diskless-sync-delay": "0",
            "min-replicas-to-write": str(min_replicas_to_write),
            "min-replicas-max-lag": str(_whole_seconds(min_replicas_max_lag)),
        }
        self.followers: list[RedisServer] = []
        super().__init__(name, announce=announce)
        self._replica_of, self.through = replica_of, _address_of(through)
        if replica_of is not None:
            replica_of.followers.append(self)

    def _settings(self) -> dict[str, str]:
        if self._replica_of is None:
            return self._chosen
        host, port = self.through or (HOST, self._replica_of.port)
        return self._chosen | {"replicaof": f"{host} {port}"}

    @property
    def url(self) -> str:
        """Where clients connect; it holds no secret, as there is none."""
        return f"redis://{self.address}/0"

    # -- replication ----------------------------------------------------------------------------

    @property
    def role(self) -> Literal["primary", "replica"]:
        """What it takes itself for; after ``resume`` a superseded primary errs for a while.

        Raises:
            redis.RedisError: it can't be reached.
        """
        return "primary" if self._replication()["role"] == "master" else "replica"

    def promote(self) -> None:
        """Make it a primary, whatever others are: fence them first.

        Raises:
            redis.RedisError: it can't be reached, or refused.
        """
        self._leave()
        self._lead(("NO", "ONE"))

    def follow(
        self, primary: RedisServer, *, through: FaultProxy | tuple[str, int] | None = None
    ) -> None:
        """Have it follow a primary, also when it starts again: what it has, and that has not, goes.

        Args:
            primary: whose data it takes.
            through: leads there, see the class; default: straight.

        Raises:
            redis.RedisError: it can't be reached, or refused.
            ServerFailed: it was not in step within 30 s.
        """
        self._leave()
        primary.followers.append(self)
        self._replica_of, self.through = primary, _address_of(through)
        host, port = self.through or (HOST, primary.port)
        self._lead((host, str(port)))
        self.wait_until_in_step()

    def _leave(self) -> None:
        if self._replica_of is not None:
            self._replica_of.followers.remove(self)
        self._replica_of = self.through = None

    def _lead(self, leader: tuple[str, str]) -> None:
        self.query("REPLICAOF", *leader)
        self.query("CONFIG", "REWRITE")

    def wait_until_in_step(self, timeout: str | timedelta = "30s") -> None:
        """Wait until a replica has its primary's data, and the primary sends what is new.

        ``connected_slaves``, and a link that is up, are true of one that is still being sent them.

        Raises:
            ServerFailed: it follows nobody, one of both does not run, or it was not in time.
        """
        primary = self._replica_of
        for each in (self, primary):
            if primary is not None and each is not None and not each.is_running:
                raise ServerFailed(
                    f"{each.name} does not run, so {self.name} can't be in step with {primary.name}"
                )

        def is_in_step() -> bool:
            if primary is None or self.port not in primary.online_replicas():
                return False
            # Valkey's primary calls it online when it has all, which it may still be loading.
            mine = self._replication()
            return mine.get("master_link_status") == "up" and not mine["master_sync_in_progress"]

        of = "nobody" if primary is None else str(primary)
        wait_until(is_in_step, timeout, lambda: f"{self} was not in step with {of}")

    def online_replicas(self) -> list[int]:
        """The ports of the replicas that have its data and are sent what is new.

        Raises:
            redis.RedisError: it can't be reached.
        """
        found = _replicas(self._replication())
        return [int(each["port"]) for each in found if each["state"] == "online"]

    def wait_for_replicas(self, count: int = 1, timeout: str | timedelta = "30s") -> None:
        """Wait until so many replicas are online and have all that was written until now.

        For a drill's set-up, so that it does not begin with an empty replica. What a client may
        rely on is its own ``WAIT``, on the connection of its write: see ``redis_canary(wait=1)``.

        Raises:
            ServerFailed: fewer had it in time.
        """
        seen = 0

        def have_it() -> bool:
            nonlocal seen
            found = self._replication()
            # As they last told, once a second: WAIT on a connection without writes asks nobody.
            seen = sum(
                each["state"] == "online" and int(each["offset"]) >= found["master_repl_offset"]
                for each in _replicas(found)
            )
            return seen >= count

        wait_until(have_it, timeout, lambda: f"{seen} of {count} replicas of {self} were in step")

    def lag_bytes(self, replica: RedisServer) -> int:
        """How much of what it has sent, or would have, a replica of it has not got.

        Raises:
            redis.RedisError: one of them can't be reached.
            ValueError: that is no replica of anybody.
        """
        theirs = replica._replication()
        if theirs["role"] != "slave":
            raise ValueError(f"{replica} is a primary, and lags behind nobody")
        mine = int(self._replication()["master_repl_offset"])
        return max(0, mine - int(theirs["slave_repl_offset"]))

    def _replication(self) -> dict[str, Any]:
        return self.info("replication")


def _address_of(through: FaultProxy | tuple[str, int] | None) -> tuple[str, int] | None:
    if through is None or isinstance(through, tuple):
        return through
    return through.host, through.port


def _replicas(found: dict[str, Any]) -> list[dict[str, Any]]:
    """The lines ``slave0``, ``slave1`` and so on of ``INFO replication``."""
    return [each for key, each in found.items() if key[:5] == "slave" and isinstance(each, dict)]


def _whole_seconds(value: str | timedelta) -> int:
    try:
        seconds = parse_duration(value).total_seconds()
    except (TypeError, ValueError) as error:
        raise type(error)(f"min_replicas_max_lag: {error}") from None
    if seconds < 1 or seconds != int(seconds):
        raise ValueError(
            f"min_replicas_max_lag must be whole seconds, as Redis counts it, not {shown(value)}"
        )
    return int(seconds)
