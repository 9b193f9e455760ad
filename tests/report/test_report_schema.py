"""The types and the JSON Schema of the record say the same."""

from __future__ import annotations

import copy
import types as stdlib_types
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

import jsonschema
import pytest
import sample_records as samples

from pytest_drdrill.evidence import types
from pytest_drdrill.evidence.schema import load_schema

SCHEMA = load_schema()
RECORDS = {name: kind for name, kind in vars(types).items() if is_typeddict(kind)}
SHAPES = {
    name: kind for name, kind in RECORDS.items() if name != "Measured"
}  # a base of DrillRecord


def definition(name: str) -> dict[str, Any]:
    return SCHEMA if name == "EvidenceRecord" else SCHEMA["$defs"][name]


def kinds_of_hint(hint: Any) -> set[str]:
    """What a type allows, in the words of ``kinds_of_rule``."""
    if get_origin(hint) in (Union, stdlib_types.UnionType):
        return set().union(*map(kinds_of_hint, get_args(hint)))
    if get_origin(hint) is Literal:
        return {f"={value}" for value in get_args(hint)}
    if get_origin(hint) is list:
        return {f"list of {sorted(kinds_of_hint(get_args(hint)[0]))}"}
    if get_origin(hint) is dict:
        return {f"map of {sorted(kinds_of_hint(get_args(hint)[1]))}"}
    if is_typeddict(hint):
        return {hint.__name__}
    plain = {str: "string", int: "integer", float: "number", bool: "boolean"}
    return {"null" if hint is type(None) else plain[hint]}


def kinds_of_rule(rule: dict[str, Any]) -> set[str]:
    """What a schema allows."""
    if "anyOf" in rule:
        return set().union(*map(kinds_of_rule, rule["anyOf"]))
    if "$ref" in rule:
        return {rule["$ref"].removeprefix("#/$defs/")}
    if "enum" in rule:
        return {"null" if value is None else f"={value}" for value in rule["enum"]}
    if "const" in rule:
        rule = {"type": "string"}
    kinds = {rule["type"]} if isinstance(rule["type"], str) else set(rule["type"])
    if "array" in kinds:
        return kinds - {"array"} | {f"list of {sorted(kinds_of_rule(rule['items']))}"}
    if "object" in kinds:
        values = sorted(kinds_of_rule(rule["additionalProperties"]))
        return kinds - {"object"} | {f"map of {values}"}
    return kinds


def disagreements(name: str, rules: dict[str, Any]) -> list[str]:
    kind = RECORDS[name]
    hints = get_type_hints(kind)
    found = []
    if rules["properties"].keys() != hints.keys():
        found.append("keys")
    if set(rules["required"]) != kind.__required_keys__:
        found.append("required")
    if rules["additionalProperties"] is not False:
        found.append("additionalProperties")
    found += [
        key
        for key, hint in hints.items()
        if key in rules["properties"]
        and kinds_of_hint(hint) != kinds_of_rule(rules["properties"][key])
    ]
    return found


def test_the_schema_is_a_valid_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert SCHEMA["properties"]["schema"]["const"] == "drdrill/1"


def test_the_schema_defines_every_record_and_nothing_else() -> None:
    assert SCHEMA["$defs"].keys() | {"EvidenceRecord"} == SHAPES.keys()


@pytest.mark.parametrize("name", SHAPES)
def test_types_and_schema_agree(name: str) -> None:
    assert disagreements(name, definition(name)) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda rules: rules["properties"].pop("mode"), ["keys"]),
        (lambda rules: rules["properties"].update(extra={"type": "null"}), ["keys"]),
        (lambda rules: rules["required"].remove("error"), ["required"]),
        (lambda rules: rules.update(additionalProperties=True), ["additionalProperties"]),
        (lambda rules: rules["properties"]["tier"].update(type="string"), ["tier"]),
        (lambda rules: rules["properties"]["verdict"]["enum"].append("unsure"), ["verdict"]),
        (lambda rules: rules["properties"]["kinds"].update(items={"type": "null"}), ["kinds"]),
    ],
)
def test_a_disagreement_is_found(change: Any, expected: list[str]) -> None:
    rules = copy.deepcopy(definition("DrillRecord"))
    change(rules)
    assert disagreements("DrillRecord", rules) == expected


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema",), "drdrill/2"),
        (("run", "started"), "yesterday"),
        (("run", "started"), "2026-03-01T02:00:00+02:00"),
        (("run", "repeat"), 0),
        (("drills", 0, "duration_s"), -1.0),
        (("drills", 0, "timeline", 0, "at_s"), -0.1),
        (("drills", 0, "verdict"), "green"),
        (("drills", 0, "mode"), None),
        (("drills", 0, "rpo", "basis"), "guess"),
        (("drills", 0, "rpo", "lost"), 1.5),
        (("tiers", 0, "availability_target"), 101),
        (("plan",), {}),
    ],
)
def test_the_schema_refuses_what_is_no_evidence(path: tuple, value: Any) -> None:
    validator = jsonschema.Draft202012Validator(SCHEMA)
    record = samples.rich()
    validator.validate(record)
    parent: Any = record
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = value
    assert not validator.is_valid(record)


def test_the_schema_takes_both_ways_to_write_utc() -> None:
    record = samples.all_green()
    record["run"]["started"] = "2026-03-01T02:00:00.123456+00:00"
    jsonschema.Draft202012Validator(SCHEMA).validate(record)
