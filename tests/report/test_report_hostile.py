"""Texts that want to be more than text harm no rendering."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from render_checks import check_balanced, check_tables, check_terminal, html_structure, tables
from sample_records import free_texts, rich, with_texts

from pytest_drdrill.evidence.schema import load_schema
from pytest_drdrill.report import files, html, junit, markdown, terminal

NASTY = [
    "<script>alert(1)</script>",
    "</td></tr></table>",
    "<!--",
    "&lt;&amp;",
    "\x1b[31m\x1b]0;title\x07",
    "line one\nline two\r\n| a | b |\n\n# heading",
    "\udc80\ud800",
    "a|b\\|c\\\\|d",
    "`code` ``` ~~~~ ````",
    "[link](http://example.com) ![image](x) **bold** _em_ ~~gone~~",
    "\u202egnp.exe\u2066\u2069\u200f",
    "\x00\x7f\x85\x9b31m\u2028\u2029\ufeff",
    "' onmouseover='x' \" style=\"x",
    "<details>\n\n</details>",
    "\t- [x] 1. > #",
    "\\",
    " lead and trail ",
    "日本語 e\u0301 👩\u200d🚒",
    "see https://example.org/x or ftp://example.org",
    "a\u3164b\u115f\u2800\u034f\U000e0100\ufe00",
]
TEXTS = st.lists(
    st.sampled_from(NASTY) | st.text(st.characters(exclude_categories=()), max_size=20),
    min_size=1,
    max_size=4,
).map("".join)
PATHS = list(free_texts(rich()))
VALIDATOR = jsonschema.Draft202012Validator(load_schema())
BENIGN = with_texts(rich(), "x")


def hostile(test: Any) -> Any:
    """Any text, in every field at once or in one of them."""
    for text in NASTY:
        test = example(text=text, path=None)(test)
    test = given(text=TEXTS, path=st.none() | st.sampled_from(PATHS))(test)
    return settings(max_examples=30, deadline=None)(test)


@hostile
def test_terminal_lines_hold_nothing_that_acts(text: str, path: tuple | None) -> None:
    record = with_texts(rich(), text, path)
    for verbose in (-1, 0, 1):
        check_terminal(terminal.section_lines(record, verbose=verbose))


@hostile
def test_markdown_tables_keep_their_columns(text: str, path: tuple | None) -> None:
    rendered = markdown.render(with_texts(rich(), text, path))
    check_tables(rendered)
    benign = with_texts(rich(), "x", path)
    assert tables(rendered) == tables(markdown.render(benign))
    rendered.encode("utf-8")


def markdown_structure(text: str) -> list[Any]:
    """Blocks and inline marks as a real parser finds them; a code span may be written as HTML."""
    found: list[Any] = []
    for token in MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text):
        found.append((token.type, token.tag, token.level))
        if token.type == "html_block":
            found += html_structure(token.content)
        for child in token.children or ():
            if child.type == "code_inline":
                found += ["<code>", "</code>"]
            elif child.type == "html_inline":
                found.append(child.content)
            elif child.type not in ("text", "text_special"):
                found.append((child.type, child.tag))
    return found


@hostile
def test_nothing_in_a_text_acts_as_markdown(text: str, path: tuple | None) -> None:
    rendered = markdown.render(with_texts(rich(), text, path))
    benign = markdown.render(with_texts(rich(), "x", path))
    # An error without a visible line has no block of its own.
    has_error = bool(with_texts(rich(), text, path)["drills"][0]["error"].strip())
    if has_error:
        assert markdown_structure(rendered) == markdown_structure(benign)


@hostile
def test_html_keeps_its_elements(text: str, path: tuple | None) -> None:
    record, benign = with_texts(rich(), text, path), with_texts(rich(), "x", path)
    rendered = html.summary_html(record)
    check_balanced(rendered)
    rendered.encode("utf-8")
    if record["drills"][0]["error"].strip():
        assert html_structure(rendered) == html_structure(html.summary_html(benign))
    for drill, tame in zip(record["drills"], benign["drills"], strict=True):
        for cell, expected in zip(html.row_cells(drill), html.row_cells(tame), strict=True):
            assert html_structure(cell) == html_structure(expected)
            # pytest-html reads a cell with a pattern that stops at the end of a line.
            assert re.fullmatch(r"<td.*?>(.*?)</td>", cell)


@hostile
def test_json_is_valid_and_comes_back(text: str, path: tuple | None) -> None:
    record = with_texts(rich(), text, path)
    back = json.loads(files.dumps(record).encode("utf-8").decode("utf-8"))
    VALIDATOR.validate(back)
    shown = re.sub("[\ud800-\udfff]", lambda match: f"\\u{ord(match.group()):04x}", text)
    assert back == with_texts(rich(), shown, path)


@hostile
def test_junit_values_hold_nothing_that_acts(text: str, path: tuple | None) -> None:
    for drill in with_texts(rich(), text, path)["drills"]:
        check_terminal([(value, {}) for _, value in junit.properties(drill)])


def test_a_megabyte_in_every_field_is_bounded() -> None:
    for text in ("x" * 1_000_000, "\n" * 1_000_000, "\x1b\u202e|`<" * 200_000):
        record = with_texts(rich(), text)
        lines = terminal.section_lines(record, verbose=1)
        check_terminal(lines)
        assert sum(len(line) for line, _ in lines) < 30_000
        assert len(markdown.render(record)) < 60_000
        assert len(html.summary_html(record)) < 60_000
        assert sum(map(len, html.row_cells(record["drills"][1]))) < 5_000


def test_thousands_of_drills_keep_within_a_job_summary() -> None:
    text = "\u202e" * 300
    drills = [with_texts(drill, text) for drill in rich()["drills"]]
    failed = [drills[0] | {"nodeid": f"test_{n}", "repeat": None} for n in range(400)]
    record = with_texts(rich(), text) | {"drills": failed + drills * 40}
    assert len(markdown.render(record).encode()) < 1_048_576
    # A letter of three bytes, or one that is escaped as five, in everything that a drill may hold.
    for filler in ("復旧手順を確認した。" * 30, "<" * 300):
        drill = with_texts(rich()["drills"][0], filler)
        drill |= {"notes": [filler] * 20, "timeline": drill["timeline"] * 30}
        many = [drill | {"nodeid": f"test_{n}", "repeat": None} for n in range(200)]
        text = markdown.render(record | {"drills": many})
        assert len(text.encode()) < 1_048_576
        assert "more, all in the evidence" in text
    assert len(terminal.section_lines(record)) < 2_000


def test_every_sample_renders_everywhere(sample: dict[str, Any]) -> None:
    check_terminal(terminal.section_lines(sample))
    check_tables(markdown.render(sample))
    check_balanced(html.summary_html(sample))
    VALIDATOR.validate(json.loads(files.dumps(sample)))
    for drill in sample["drills"]:
        assert all(value for _, value in junit.properties(drill))


def test_rendering_leaves_the_record_as_it_was(sample: dict[str, Any]) -> None:
    before = json.dumps(sample)
    terminal.section_lines(sample, verbose=1)
    markdown.render(sample)
    html.summary_html(sample)
    assert json.dumps(sample) == before


def test_the_samples_cover_every_free_text() -> None:
    """The properties above hold for fields that exist: none of the record's is without a text."""
    fields = {path[-1] for path in PATHS if isinstance(path[-1], str)}
    lists = {path[-2] for path in PATHS if isinstance(path[-1], int)}
    schema = load_schema()
    for name, definition in schema["$defs"].items():
        for key, rule in definition["properties"].items():
            is_text = "string" in str(rule.get("type")) and "pattern" not in rule
            is_list = rule.get("items", {}).get("type") == "string"
            if is_text:
                assert key in fields, f"{name}.{key}"
            if is_list:
                assert key in lists, f"{name}.{key}"


class TestTheChecksGoRed:
    """Without its escaping each rendering fails its check."""

    def test_terminal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("pytest_drdrill.report.outline.visible", lambda text, limit: text)
        for text in ("\x1b[31m", "a\nb", "\udc80", "\u202e", "x" * 2_000):
            with pytest.raises(AssertionError):
                check_terminal(terminal.section_lines(with_texts(rich(), text)))

    def test_markdown(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(markdown, "_text", lambda text: text)
        with pytest.raises(AssertionError):
            check_tables(markdown.render(with_texts(rich(), "a|b")))

    @pytest.mark.parametrize(
        "text", ["**b**", "[l](u)", "<b>", "`c`", "a|b", "~~s~~", "<!-- x -->"]
    )
    def test_markdown_structure(self, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
        benign = markdown_structure(markdown.render(BENIGN))
        monkeypatch.setattr(markdown, "_text", lambda text: text)
        assert markdown_structure(markdown.render(with_texts(rich(), text))) != benign

    def test_html(self, monkeypatch: pytest.MonkeyPatch) -> None:
        benign = html_structure(html.summary_html(BENIGN))
        monkeypatch.setattr(html, "escape", lambda text: text)
        for text in ("<b>", "</td>", "<!-- x -->", "<script>"):
            broken = html.summary_html(with_texts(rich(), text))
            assert html_structure(broken) != benign
        with pytest.raises((AssertionError, IndexError)):
            check_balanced(html.summary_html(with_texts(rich(), "</td>")))

    def test_json(self) -> None:
        with pytest.raises(UnicodeEncodeError):
            json.dumps(with_texts(rich(), "\udc80"), ensure_ascii=False).encode()
        with pytest.raises(jsonschema.ValidationError):
            VALIDATOR.validate(rich() | {"extra": 1})
