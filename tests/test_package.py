"""What the package shows of itself: exports, docstrings, types, and what it loads when."""

from __future__ import annotations

import ast
import inspect
import json
import subprocess
import sys
from enum import Enum
from importlib.metadata import entry_points, requires
from pathlib import Path

import pytest

import pytest_drdrill
import pytest_drdrill.backup
import pytest_drdrill.live
import pytest_drdrill.live.dumps
import pytest_drdrill.replication
import pytest_drdrill.simulation

PACKAGE = Path(pytest_drdrill.__file__).parent
ROOMS = (
    "backup",
    "failover",
    "faults",
    "live",
    "live.dumps",
    "measure",
    "replication",
    "simulation",
)


def loaded_after(code):
    """Names of the modules that a fresh interpreter has loaded after running ``code``."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport json, sys; print(json.dumps(sorted(sys.modules)))"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "package",
    [
        pytest_drdrill,
        pytest_drdrill.backup,
        pytest_drdrill.live.dumps,
        pytest_drdrill.live,
        pytest_drdrill.replication,
        pytest_drdrill.simulation,
    ],
)
def test_all_is_what_is_exported(package):
    room = Path(package.__file__)
    tree = ast.parse(room.read_text(encoding="utf-8"))
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    for_types = {
        alias.name
        for node in guarded.body
        if isinstance(node, ast.ImportFrom) and node.module != "typing"
        for alias in node.names
    }
    late = {name for names in package._HOMES.values() for name in names}
    assert for_types == late == set(package.__all__)
    assert len(package.__all__) == len(set(package.__all__))
    for name in package.__all__:
        assert getattr(package, name).__name__ == name
        assert name in dir(package)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        package.nothing  # noqa: B018 - looked up for the error


@pytest.mark.parametrize("room", ROOMS)
def test_what_a_room_shows_is_exported(room):
    shown = set(__import__(f"pytest_drdrill.{room}", fromlist=["x"]).__all__)
    assert shown <= set(pytest_drdrill.__all__)


def test_every_public_name_is_documented():
    bare = []
    for name in pytest_drdrill.__all__:
        thing = getattr(pytest_drdrill, name)
        if not inspect.getdoc(thing) or thing.__doc__ is None:
            bare.append(name)
        if not inspect.isclass(thing) or issubclass(thing, Enum):
            continue
        for attribute, value in vars(thing).items():
            inner = getattr(value, "fget", None) or getattr(value, "__func__", value)
            if not attribute.startswith("_") and callable(inner) and not inspect.getdoc(inner):
                bare.append(f"{name}.{attribute}")
    assert bare == []


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("RecoveryMetrics", "NIST SP 800-34"),
        ("RecoveryMetrics.calculate_downtime_budget", "Site Reliability Engineering"),
        ("RecoveryMetrics.expected_availability", "MIL-HDBK-338B"),
        ("RTOTimer", "NIST SP 800-34"),
        ("RPOTimer", "NIST SP 800-34"),
        ("FailoverManager.predicted_detection", "Source:"),
        ("BackupSchedule.worst_case_rpo", "NIST SP 800-34"),
        ("BackupHealth", "NIST SP 800-34"),
        ("backup_exposure", "NIST SP 800-34"),
        ("HAProxyPreset", "HAProxy Configuration Manual"),
        ("KeepalivedPreset", "RFC 3768 and RFC 5798"),
        ("SentinelPreset", "High availability with Redis Sentinel"),
        ("PatroniPreset", "Dynamic Configuration Settings"),
        ("ConsulPreset", "Health check configuration reference"),
        ("ConsulTTLPreset", "Health check configuration reference"),
    ],
)
def test_metrics_name_the_source_of_their_definition(name, source):
    owner, _, attribute = name.partition(".")
    thing = getattr(pytest_drdrill, owner)
    if attribute:
        thing = inspect.getattr_static(thing, attribute)
    assert source in inspect.getdoc(thing)


def test_every_module_and_fixture_is_documented():
    from pytest_drdrill import plugin

    for path in PACKAGE.rglob("*.py"):
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path
    for name in plugin.__all__:
        if not name.startswith("_"):
            assert getattr(plugin, name).__doc__


def test_entry_point_brings_in_nothing_heavy():
    pytests = loaded_after("import pytest, _pytest.config as c; c.get_config()")
    ours = loaded_after(
        "import pytest, _pytest.config as c; c.get_config(); import pytest_drdrill.plugin"
    )
    added = ours - pytests
    assert added <= {
        "pytest_drdrill",
        "pytest_drdrill.fixtures",
        "pytest_drdrill.late",
        "pytest_drdrill.plugin",
        "pytest_drdrill.session",
        "pytest_drdrill.session.markers",
        "pytest_drdrill.session.options",
    }
    for heavy in ("asyncio", "ssl", "aiohttp", "hypothesis", "jinja2", "pytest_html", "sqlite3"):
        assert heavy not in ours


def test_suite_without_drills_loads_no_room(pytester):
    pytester.makepyfile("def test_it(): pass")
    pytester.makeconftest(
        """
        import sys
        def pytest_unconfigure(config):
            print("LOADED", [name for name in sys.modules if name.startswith("pytest_drdrill.")])
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:asyncio", "-p", "no:html")
    loaded = next(line for line in result.outlines if "LOADED" in line)
    for room in (*ROOMS, "evidence", "report", "objectives", "session.runner"):
        assert f"pytest_drdrill.{room}" not in loaded


def test_failover_room_loads_aiohttp_only_to_probe():
    assert "aiohttp" not in loaded_after("from pytest_drdrill import *")


def test_no_room_below_session_knows_pytest():
    code = "import pytest_drdrill.report.terminal, pytest_drdrill.evidence.assemble\n"
    code += "from pytest_drdrill import *"
    assert not {"pytest", "_pytest"} & loaded_after(code)


def test_package_is_typed_and_found():
    assert (PACKAGE / "py.typed").exists()
    (found,) = [entry for entry in entry_points(group="pytest11") if entry.name == "drdrill"]
    assert found.value == "pytest_drdrill.plugin"


def test_dependencies_are_those_that_the_owner_named():
    names = {text.split(">")[0] for text in requires("pytest-drdrill") if "extra" not in text}
    assert names == {"pytest", "pytest-asyncio", "aiohttp", "pytest-html", "hypothesis"}
