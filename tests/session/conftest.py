from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import jsonschema
import pytest

import pytest_drdrill
from pytest_drdrill import load_schema

INI = """
[pytest]
addopts = --strict-markers --strict-config
filterwarnings = error
"""
HEAD = """
import asyncio, os, signal, time, unittest
import pytest
{ours}
"""
# Made once: jsonschema.validate() would check the schema itself each time.
EVIDENCE = jsonschema.Draft202012Validator(load_schema(), format_checker=jsonschema.FormatChecker())
MODES = {"no-xdist": ["-p", "no:xdist"], "n0": ["-n0"], "n2": ["-n2"]}


@dataclass
class Outcome:
    result: pytest.RunResult
    record: dict[str, Any] | None

    @property
    def ret(self):
        return self.result.ret

    @property
    def text(self):
        return self.result.stdout.str()

    @property
    def unwrapped(self):
        """The text on one line: where a sentence was wrapped depends on the paths in it."""
        return " ".join(self.text.split())

    @property
    def drills(self):
        return {drill["nodeid"].partition("::")[2]: drill for drill in self.record["drills"]}

    @property
    def verdicts(self):
        return {name: drill["verdict"] for name, drill in self.drills.items()}


def imports_of(source):
    """Of what the package exports, that which is named there: each process loads all of that."""
    words = set(re.findall(r"\w+", source))
    named = sorted(words & set(pytest_drdrill.__all__))
    return f"from pytest_drdrill import {', '.join(named)}" if named else ""


@pytest.fixture
def drills(pytester):
    """Runs a module of drills in a pytest of its own; evidence checked against the schema."""
    pytester.makeini(INI)

    def run(source, *args, mode="no-xdist", report=True, subprocess=False):
        pytester.makepyfile(test_it=HEAD.format(ours=imports_of(source)) + source)
        path = pytester.path / "evidence.json"
        path.unlink(missing_ok=True)
        given = [*MODES[mode], *args]
        if report:
            given.append(f"--dr-report={path}")
        runner = pytester.runpytest_subprocess if subprocess else pytester.runpytest_inprocess
        result = runner(*given)
        record = None
        if path.exists():
            record = json.loads(path.read_text(encoding="utf-8"))
            EVIDENCE.validate(record)
        return Outcome(result, record)

    return run


@pytest.fixture(params=list(MODES))
def mode(request):
    return request.param
