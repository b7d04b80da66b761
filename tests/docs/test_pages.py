"""Every command and program on a documentation page is run, and shows what the page says.

How a page is written so that this works stands in CONTRIBUTING.md, "Documentation that is run".
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from tests.docs.consoles import Console, ShownOtherwise, console
from tests.docs.pages import ROOT, Block, PageInvalid, blocks_of, commands_of, pages, shows

SHOWN_ONLY = frozenset({"text", "mermaid", "diff"})
"""Languages of blocks that are pictures or listings, and claim nothing that could be run."""


def run_page(text: str, directory: Path, root: Path = ROOT) -> None:
    """Run one page's blocks in order.

    Raises:
        ShownOtherwise: Something does not do what the page says.
        PageInvalid: The page breaks the convention.
    """
    with console(directory) as session:
        for block in blocks_of(text):
            if "not run" not in block.comments:
                _run_block(block, session, root)


def _run_block(block: Block, session: Console, root: Path) -> None:
    if "file" in block.comments:
        content = (root / block.comments["file"]).read_text(encoding="utf-8")
        if block.text not in content:
            raise ShownOtherwise(f"line {block.line}: {block.comments['file']} says otherwise")
    elif block.language == "console":
        session.run(commands_of(block))
    elif block.language == "python":
        session.run_program(block.text, block.line)
    elif block.language == "toml":
        tomllib.loads(block.text)
    elif block.language == "json":
        for line in block.text.splitlines():
            json.loads(line)
    elif block.language not in SHOWN_ONLY:
        raise PageInvalid(
            f"line {block.line}: a {block.language} block is not run by anything; make it console,"
            f" python, toml, json, or one of {sorted(SHOWN_ONLY)}"
        )


@pytest.mark.processes
@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_page_run_from_top_to_bottom_shows_what_it_says(page: Path, tmp_path: Path) -> None:
    run_page(page.read_text(encoding="utf-8"), tmp_path)


def in_console(*lines: str) -> str:
    """Return a page with one console block."""
    return "\n".join(["```console", *lines, "```", ""])


@pytest.mark.parametrize(
    "page",
    [
        in_console("$ echo one two", "one two"),
        in_console("$ echo one two", "one ..."),
        in_console("$ seq 9", "1", "...", "9"),
        in_console("$ mkdir here", "$ cd here", "$ pwd", ".../here"),
        in_console("$ export NAME=value", "$ echo $NAME", "value"),
        in_console("$ false", "$ echo $?", "1"),
        in_console("$ echo a \\", "  b", "a b"),
        in_console("$ echo said at the end &", "said at the end"),
        in_console("$ tail -f /dev/null &", "$ kill %1"),
        in_console("$ make check test  # both", "$ echo done"),
        in_console("$ echo on 7002", "on 7002"),
        "<!-- setup: touch made -->\n" + in_console("$ ls made", "made"),
        "<!-- not run: it would fail -->\n" + in_console("$ false"),
        "- in a list\n\n  ```console\n  $ echo a\n  a\n  ```\n",
        "```python\nprint(1 + 1)\n```\n",
        "```toml\nalpha = 1\n```\n",
        '```json\n{"a": 1}\n```\n',
        "<!-- file: Makefile -->\n```text\n.PHONY: help\n```\n",
    ],
)
def test_page_that_says_what_happens_passes(page: str, tmp_path: Path) -> None:
    run_page(page, tmp_path)


@pytest.mark.parametrize(
    "page",
    [
        in_console("$ echo one", "two"),
        in_console("$ echo one", "one", "two"),
        in_console("$ false"),
        in_console("$ no-such-command"),
        in_console("$ echo one &", "two"),
        in_console("$ make no-such-goal"),
        "```python\nraise SystemExit(3)\n```\n",
        "<!-- file: Makefile -->\n```text\nno such line\n```\n",
    ],
)
def test_page_that_says_otherwise_fails(page: str, tmp_path: Path) -> None:
    with pytest.raises(ShownOtherwise):
        run_page(page, tmp_path)


@pytest.mark.parametrize(
    "page",
    [
        "```\nno language\n```\n",
        "```console\n$ echo not closed\n",
        "```bash\nls\n```\n",
        "<!-- skip: because -->\n",
        "<!-- not run: in front of nothing -->\n\ntext\n",
        in_console("output in front of a command"),
    ],
)
def test_page_against_the_convention_is_refused(page: str, tmp_path: Path) -> None:
    with pytest.raises(PageInvalid):
        run_page(page, tmp_path)


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        (("a",), "a\n", True),
        (("a",), "a  \n", True),
        (("a", "..."), "a\n", True),
        (("...", "c"), "a\nb\nc\n", True),
        (("a...c",), "abc\n", True),
        (("a...c",), "a\nc\n", False),
        (("a.c",), "abc\n", False),
        (("a",), "a\nb\n", False),
    ],
)
def test_output_compared_with_dots_stands_for_what_was_printed(
    shown: tuple[str, ...], printed: str, *, same: bool
) -> None:
    assert shows(shown, printed) is same
