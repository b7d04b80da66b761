"""What the documentation says is tested, is: every test it names exists.

A page names a test in backticks, as ``tests/area/file.py::test_name`` or by the name alone. In
``docs/guarantees.md`` every section that makes a promise names at least one; only below a heading
that says "not promised" may it be silent.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, pages

GUARANTEES = ROOT / "docs" / "guarantees.md"
_NAMED = re.compile(r"`(?:(?P<file>[\w./-]+\.py)::)?(?P<test>test_\w+)(?:\[[^`]*\])?`")


@cache
def existing_tests() -> dict[str, set[str]]:
    """Return the names of all test functions, by file; shipped conformance suites too."""
    files = [*(ROOT / "tests").rglob("*.py"), *(ROOT / "paxos" / "testing").rglob("*.py")]
    return {str(path.relative_to(ROOT)): _tests_of(path) for path in files}


def _tests_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
    }


def missing_tests(text: str, existing: dict[str, set[str]]) -> list[str]:
    """Return every test that ``text`` names and that is not there."""
    everywhere = set().union(*existing.values())
    return [
        named[0]
        for named in _NAMED.finditer(text)
        if named["test"]
        not in (existing.get(named["file"], set()) if named["file"] else everywhere)
    ]


def unheld_sections(text: str) -> list[str]:
    """Return the headings of sections that promise something and name no test for it."""
    sections = re.split(r"^(#+ .*)$", text, flags=re.MULTILINE)[1:]
    unheld = []
    promised_not_at = 7
    for heading, body in zip(sections[::2], sections[1::2], strict=True):
        level = len(heading) - len(heading.lstrip("#"))
        if level <= promised_not_at:
            promised_not_at = level if "not promised" in heading.lower() else 7
        silent = level == 1 or promised_not_at < 7 or not body.strip()
        if not silent and not _NAMED.search(body):
            unheld.append(heading)
    return unheld


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_that_name_tests_name_ones_that_exist(page: Path) -> None:
    assert missing_tests(page.read_text(encoding="utf-8"), existing_tests()) == []


def test_guarantees_section_by_section_are_held_by_tests() -> None:
    text = GUARANTEES.read_text(encoding="utf-8")
    assert _NAMED.search(text)
    assert unheld_sections(text) == []


def test_names_of_tests_that_are_missing_are_found() -> None:
    existing = {"tests/a/test_a.py": {"test_one_two_three"}}
    assert missing_tests("`test_one_two_three`", existing) == []
    assert missing_tests("`tests/a/test_a.py::test_one_two_three[tcp]`", existing) == []
    assert missing_tests("`test_gone`, `tests/b.py::test_one_two_three`", existing) == [
        "`test_gone`",
        "`tests/b.py::test_one_two_three`",
    ]


def test_sections_that_promise_without_a_test_are_found() -> None:
    text = (
        "# All\nintro\n## Held\n`test_a_b_c`\n## Loose\nwords\n## Not promised\n### Speed\nwords\n"
    )
    assert unheld_sections(text) == ["## Loose"]
    assert unheld_sections(text + "## Later\nwords\n") == ["## Loose", "## Later"]
