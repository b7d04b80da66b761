"""The table of known bugs in docs/testing.md lists those of tests/mutants, each once."""

from __future__ import annotations

import re

from tests.mutation.test_mutant_patches import DIRECTORY, MUTANTS

PAGE = DIRECTORY.parents[1] / "docs" / "testing.md"


def test_table_of_the_manual_lists_exactly_the_mutants_there_are() -> None:
    text = PAGE.read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([A-Z]\d+) \| ([^|]+) \|", text, re.MULTILINE)
    assert rows == [(mutant.id, mutant.title) for mutant in MUTANTS]
