"""The JSON Schema of the evidence record, as it ships with the package."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

SCHEMA_FILE = "drdrill-1.schema.json"
"""The schema's file beside this module."""


def load_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) that every evidence file of this version satisfies."""
    text = files("pytest_drdrill.evidence").joinpath(SCHEMA_FILE).read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema
