"""HAProxy: its runtime API as a traffic switch, and a scratch one in front of a drill's servers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_drdrill.late import names_of

if TYPE_CHECKING:
    from pytest_drdrill.live.haproxy.errors import HAProxyError
    from pytest_drdrill.live.haproxy.server import HAProxyServer
    from pytest_drdrill.live.haproxy.traffic import HAProxyTraffic

__getattr__ = names_of(
    __name__,
    {
        "errors": ["HAProxyError"],
        "server": ["HAProxyServer"],
        "traffic": ["HAProxyTraffic"],
    },
)

__all__ = ["HAProxyError", "HAProxyServer", "HAProxyTraffic"]
