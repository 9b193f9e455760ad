"""The page on a service of one's own behind HAProxy says what works."""

import re
from pathlib import Path

from haproxy_site import haproxy_of

from pytest_drdrill.live.ports import free_port

PAGE = Path(__file__).parents[3] / "example_drills" / "behind_a_load_balancer.md"
BLOCKS = re.findall(
    r"^```(\w+)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
)
FRONT = """
frontend clients
  mode http
  timeout client 10s
  bind 127.0.0.1:{port}
  default_backend web
"""


def test_the_drill_runs_with_the_config_of_the_page(pair, pytester):
    (config,) = (text for kind, text in BLOCKS if kind == "text")
    port = free_port()
    for asked, here in (
        ("stats socket /run/haproxy/admin.sock mode 660 group drills", "stats socket {folder}/s"),
        ("/var/lib/haproxy/states", "{folder}/states"),
        ("defaults", "defaults\n  mode http\n  timeout server 10s\n  timeout client 10s"),
        ("10.0.0.11:8080", f"127.0.0.1:{pair[0].port}"),
        ("10.0.0.12:8080", f"127.0.0.1:{pair[1].port}"),
        ("global", "global\n  maxconn 100\n  stats socket {folder}/ready.sock"),
    ):
        assert asked in config
        config = config.replace(asked, here, 1)
    with haproxy_of(config + FRONT.format(port=port)) as server:
        conftest, drill, *_ = (text for kind, text in BLOCKS if kind == "python")
        conftest = conftest.replace("/run/haproxy/admin.sock", f"{server.folder}/s")
        conftest = conftest.replace("shop.example", f"127.0.0.1:{port}")
        pytester.makeini("[pytest]\nfilterwarnings = error\n")
        pytester.makeconftest(conftest)
        # It is scratch here, so no live system is asked for.
        pytester.makepyfile(test_shop=drill.replace("@pytest.mark.dr_live\n", ""))
        result = pytester.runpytest("--strict-markers")
        result.assert_outcomes(passed=1)
        log = server.log.read_text()
    assert "Server web/app1 is going DOWN for maintenance" in log
    assert "Server web/app1 is UP/READY" in log


def test_the_page_tells_what_a_scratch_haproxy_does_too(before, pair):
    (config,) = (text for kind, text in BLOCKS if kind == "text")
    own = (before(pair, keep_state=True).socket.parent / "haproxy.cfg").read_text()
    same = ("retry-on", "option redispatch", "http-request", "retries", "timeout connect", "load-")
    for line in map(str.strip, config.splitlines()):
        if line.startswith(same) or "waiting" in line:
            assert f"  {line}\n" in own
