"""Sentinels that a drill starts here as scratch, and what they agree on."""

from __future__ import annotations

import math
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from pytest_drdrill.durations import format_duration, parse_duration
from pytest_drdrill.live.closing import Closing
from pytest_drdrill.live.redis.binaries import redis_package
from pytest_drdrill.live.redis.process import HOST, RedisProcess, wait_until
from pytest_drdrill.live.redis.server import RedisServer
from pytest_drdrill.text import shown

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

_READY = "30s"
_QUICK_RETRY, _LEAVE_LINKS = "2s", "20s"


class RedisSentinel(RedisProcess):
    """One Sentinel.

    Args:
        name: what events and messages call it.
        settings: of its configuration.
        announce: told of each fault as it strikes and as it is undone.
    """

    _arguments = ("--sentinel",)

    def __init__(
        self,
        name: str,
        settings: dict[str, str],
        *,
        announce: Callable[[str, str], None] | None = None,
    ) -> None:
        super().__init__(name, announce=announce)
        self._chosen = settings

    def _settings(self) -> dict[str, str]:
        return self._chosen

    def sees(self, service: str) -> dict[str, str]:
        """What it knows of a primary, by Redis's own names.

        Raises:
            redis.RedisError: it can't be reached, or knows of none.
        """
        answer: list[str] | dict[str, str] = self.query("SENTINEL", "MASTER", service)
        if isinstance(answer, dict):
            return answer
        return dict(zip(answer[::2], answer[1::2], strict=True))


class RedisSentinels(Closing):
    """Sentinels that watch one primary, and have a replica take over where it is gone.

    What the fixture ``redis_sentinels`` makes; in a script, a context manager that starts them::

        with RedisServer("a") as a, RedisServer("b", replica_of=a) as b, RedisSentinels(a):
            b.wait_until_in_step()
            a.kill()

    Once started they know each other and every replica that the primary had: before that, a
    failover would not happen. Nothing fences the primary that they leave: one that was paused takes
    writes when it resumes, for seconds, until it is told; see ``min_replicas_to_write``.

    Args:
        primary: the server to watch; its replicas are found through it.
        count: how many there are.
        quorum: how many have to see the primary down; default: the majority.
        down_after: how long the primary has to be silent, to the millisecond.
        failover_timeout: half the time until a failover that came to nothing is tried again, as
            where each Sentinel votes for itself, which happens now and then; and the time after
            which a replica is made to follow the primary straight. So, by default, 2 s, or 20 s
            where the link of a replica leads ``through`` something else; a Redis of yours has 180 s
            unless told otherwise.
        service: the name that clients ask them for.
        announce: told of each fault as it strikes and as it is undone, e.g. for a timeline.

    Attributes:
        service: as given.
        members: one process each, to be killed or paused.

    Raises:
        ComponentMissing: the machine has no Redis, or Python no package to speak to it.
        TypeError: an argument of another type, or a duration without a unit.
        ValueError: an argument out of range, or a primary that does not run.
    """

    def __init__(  # noqa: PLR0913 - each is a setting with a default, by keyword
        self,
        primary: RedisServer,
        *,
        count: int = 3,
        quorum: int | None = None,
        down_after: str | timedelta = "1s",
        failover_timeout: str | timedelta | None = None,
        service: str = "main",
        announce: Callable[[str, str], None] | None = None,
    ) -> None:
        if not isinstance(primary, RedisServer):
            raise TypeError(f"Sentinels watch a RedisServer, not {shown(primary)}")
        if not primary.is_running:
            raise ValueError(f"{primary.name} does not run, so Sentinels can't learn its replicas")
        majority = count // 2 + 1
        quorum = majority if quorum is None else quorum
        if not 1 <= quorum <= count:
            raise ValueError(f"a quorum of {quorum} can't be had of {count} Sentinels")
        down_ms = _milliseconds("down_after", down_after)
        if failover_timeout is None:
            failover_timeout = _QUICK_RETRY
            if any(each.through is not None for each in primary.followers):
                failover_timeout = _LEAVE_LINKS
        retry_ms = _milliseconds("failover_timeout", failover_timeout)
        self.service = service
        self._primary = primary
        self._majority = majority
        settings = {
            f"sentinel monitor {service}": f"{HOST} {primary.port} {quorum}",
            f"sentinel down-after-milliseconds {service}": str(down_ms),
            f"sentinel failover-timeout {service}": str(retry_ms),
        }
        self._stack = ExitStack()
        self.members: list[RedisSentinel] = []
        try:
            for number in range(1, count + 1):
                member = RedisSentinel(f"sentinel-{number}", settings, announce=announce)
                self.members.append(member)
                self._stack.callback(member.close)
        except BaseException:
            self._stack.close()
            raise

    def start(self) -> None:
        """Start them, and wait until they agree.

        Raises:
            ServerFailed: one did not start, or they did not agree within 30 s.
        """
        replicas = len(self._primary.online_replicas())
        for each in self.members:
            each.start()
        wait_until(
            lambda: all(self._is_ready(each, replicas) for each in self.members),
            _READY,
            lambda: f"the Sentinels of {self._primary} did not know each other and its replicas",
        )

    def _is_ready(self, member: RedisSentinel, replicas: int) -> bool:
        seen = member.sees(self.service)
        others = int(seen["num-other-sentinels"]) == len(self.members) - 1
        return others and int(seen["num-slaves"]) >= replicas and seen["flags"] == "master"

    def close(self) -> None:
        """End them, and remove their files; again, nothing happens."""
        self._stack.close()

    def _begin(self) -> None:
        self.start()

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where clients ask them, as ``(host, port)`` each."""
        return [(HOST, each.port) for each in self.members]

    def primary_address(self) -> tuple[str, int] | None:
        """The primary that the majority of all of them names; None where there is none."""
        error_of_redis = redis_package().RedisError
        named: Counter[tuple[str, int]] = Counter()
        for each in self.members:
            try:
                answer: Any = each.query(
                    "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.service, timeout="1s"
                )
            except error_of_redis:
                continue
            if answer:
                named[answer[0], int(answer[1])] += 1
        for address, votes in named.most_common(1):
            if votes >= self._majority:
                return address
        return None

    def wait_for_primary(self, server: RedisServer, timeout: str | timedelta = "60s") -> None:
        """Wait until the majority names a server, and it takes itself for the primary.

        Raises:
            ServerFailed: it did not come to that in time.
        """
        wait_until(
            lambda: self.primary_address() == (HOST, server.port) and server.role == "primary",
            timeout,
            lambda: f"the Sentinels of {self.service} did not make {server} the primary",
        )


def _milliseconds(name: str, value: str | timedelta) -> int:
    try:
        span = parse_duration(value)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from None
    milliseconds = span.total_seconds() * 1000
    if milliseconds < 1 or not math.isclose(milliseconds, round(milliseconds)):
        raise ValueError(f"{name} must be whole milliseconds, not {format_duration(span)}")
    return round(milliseconds)
