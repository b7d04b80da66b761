"""Reads a documentation page: its fenced blocks, and what stands beside them for the tests.

The convention (CONTRIBUTING.md, "Documentation that is run"): every block has a language. Commands
are ``console`` blocks, programs ``python`` blocks, and all of them are run, in order, unless a
comment in front of the block gives a reason not to. Comments are ``<!-- key: value -->``:

- ``not run: REASON``: the block is shown only.
- ``file: PATH``: the block is that file's content; what runs the file runs the block.
- ``setup: COMMAND``: not shown to the reader, but run like a ``$ COMMAND`` at this place.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,})(?P<language>[\w+-]*)\s*$")
_COMMENT = re.compile(r"^ *<!-- (?P<key>[a-z ]+): (?P<value>.+) -->$")
_KEYS = frozenset({"file", "not run", "setup"})


class PageInvalid(Exception):
    """A page breaks the convention; the text has the place."""


@dataclass(frozen=True)
class Block:
    """One fenced block, or one ``setup`` comment as a block of its own.

    Attributes:
        line: Where its text begins, from 1.
        language: What follows the fence: ``console``, ``python``, ``toml``, ``text``, ...
        text: The lines between the fences, without the fence's indentation.
        comments: The comments right in front of it, by key.
    """

    line: int
    language: str
    text: str
    comments: dict[str, str]


@dataclass(frozen=True)
class Command:
    """A ``$ command`` of a console block, and the output that is shown for it."""

    line: int
    text: str
    output: tuple[str, ...]

    @property
    def in_background(self) -> bool:
        """Whether it ends in ``&``: a process that runs until the page ends."""
        return self.text.endswith("&") and not self.text.endswith("&&")


def pages() -> list[Path]:
    """Return every page whose blocks are run, README first."""
    top = [ROOT / name for name in ("README.md", "CONTRIBUTING.md")]
    return [*top, *sorted((ROOT / "docs").rglob("*.md"))]


def blocks_of(text: str) -> list[Block]:
    """Return the blocks of one page in order.

    Raises:
        PageInvalid: A fence that is not closed, no language, or a comment nobody understands.
    """
    blocks: list[Block] = []
    comments: dict[str, str] = {}
    lines = enumerate(text.splitlines(), start=1)
    for number, line in lines:
        fence, comment = _FENCE.match(line), _COMMENT.match(line)
        if fence:
            body = _body(lines, fence, number)
            if not fence["language"]:
                raise PageInvalid(f"line {number}: a block without a language; say text if it is")
            blocks.append(Block(number + 1, fence["language"], body, comments))
            comments = {}
        elif comment:
            key, value = comment["key"], comment["value"].strip()
            if key not in _KEYS:
                raise PageInvalid(f"line {number}: {key!r} is none of {sorted(_KEYS)}")
            if key == "setup":
                blocks.append(Block(number, "console", f"$ {value}", {}))
            else:
                comments[key] = value
        elif line.strip() and comments:
            raise PageInvalid(f"line {number}: {comments} stands in front of no block")
    return blocks


def _body(lines: enumerate[str], fence: re.Match[str], start: int) -> str:
    body: list[str] = []
    for _, line in lines:
        if line.strip() == fence["fence"]:
            return "".join(f"{each}\n" for each in body)
        body.append(line.removeprefix(fence["indent"]))
    raise PageInvalid(f"line {start}: this block is not closed")


def commands_of(block: Block) -> list[Command]:
    """Return the commands of a console block; a trailing backslash continues one.

    Raises:
        PageInvalid: Output in front of the first command.
    """
    commands: list[Command] = []
    continues = False
    for number, line in enumerate(block.text.splitlines(), start=block.line):
        if continues:
            last = commands.pop()
            commands.append(Command(last.line, f"{last.text}\n{line}", ()))
        elif line.startswith("$ "):
            commands.append(Command(number, line.removeprefix("$ "), ()))
        elif commands:
            last = commands.pop()
            commands.append(Command(last.line, last.text, (*last.output, line)))
        else:
            raise PageInvalid(f"line {number}: a console block begins with $ and a command")
        continues = (line.startswith("$ ") or continues) and line.endswith("\\")
    return commands


def shows(output: tuple[str, ...], actual: str) -> bool:
    """Whether ``actual`` is what is shown: ``...`` in a line is any text, alone any lines."""
    pattern = ""
    for line in output:
        if line.strip() == "...":
            pattern += r"(?:.*\n)*"
        else:
            pattern += r"[^\n]*".join(map(re.escape, line.rstrip().split("..."))) + r"\n"
    stripped = "".join(f"{line.rstrip()}\n" for line in actual.splitlines())
    return re.fullmatch(pattern, stripped) is not None
