"""Mutants: small bugs as patches of the product's source, read from a directory.

Owns the two formats that a directory may hold. ``*.toml``, one mutant each:

    id = "A1"                          # unique; the file's name says it too, in any case
    title = "accepts a ballot below its promise"
    breaks = "what that does to the protocol, in a sentence or two"
    expected = ["I2", "I4"]            # which checks may find it; any, if left out
    profile = "cluster"                # which judge; all in turn, if left out
    seeds = 20                         # the budget: it must be found within so many

    [[edit]]                           # one or more
    file = "paxos/core/acceptor.py"    # from the root of the packages
    old = "..."                        # stands there exactly once
    new = "..."

Instead of edits it may say ``waits_for`` (the feature it needs), ``equivalent`` (the proof that it
changes nothing) or ``held_by`` (the test that holds it, for a bug of the harness itself).
``*.patch`` and ``*.diff``, unified diffs as git or diff make them, are mutants named after their
file, with defaults for everything else. It must never know how a mutant is looked for.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paxos.core.errors import PaxosError

SEEDS_DEFAULT = 100
"""The budget of a mutant that names none."""

DIFF_SUFFIXES = (".patch", ".diff")

_REASONS = ("waits_for", "equivalent", "held_by")
_TEXTS = ("id", "title", "breaks", "profile", *_REASONS)
_KNOWN = frozenset({*_TEXTS, "expected", "seeds", "edit"})


class MutantInvalid(PaxosError):
    """A mutant that cannot be read or applied. The text names its file and says why."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One replacement: in ``file``, ``old`` stands exactly once and becomes ``new``."""

    file: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Mutant:
    """One bug, and how to look for it.

    Attributes:
        id: Its name.
        title: The bug, in a few words.
        breaks: What it does to the protocol.
        expected: Checks that may find it, such as "I7"; empty for any.
        profile: The judge that looks for it, or "" for every one in turn.
        seeds: Within how many seeds it must be found.
        edits: What it changes.
        diff: The same as a unified diff; exactly one of the two is there if it can be run.
        waits_for: The feature that it needs and that has not landed.
        equivalent: Why it changes nothing that matters.
        held_by: The test that holds it instead.
    """

    id: str
    title: str
    breaks: str = ""
    expected: tuple[str, ...] = ()
    profile: str = ""
    seeds: int = SEEDS_DEFAULT
    edits: tuple[Edit, ...] = ()
    diff: str = ""
    waits_for: str = ""
    equivalent: str = ""
    held_by: str = ""

    @property
    def runnable(self) -> bool:
        """Whether there is something to put into the product and look for."""
        return not (self.waits_for or self.equivalent or self.held_by)


def read_mutants(directory: Path) -> list[Mutant]:
    """Return the mutants of a directory, in the order of their ids (A2 before A10).

    Raises:
        MutantInvalid: There is no such directory, nothing in it, or something that is wrong.
    """
    if not directory.is_dir():
        raise MutantInvalid(
            f"{directory}: there is no such directory; run this at the root of a checkout,"
            " or name one with --from"
        )
    files = [
        each for each in sorted(directory.iterdir()) if each.suffix in (".toml", *DIFF_SUFFIXES)
    ]
    if not files:
        raise MutantInvalid(f"{directory}: holds no mutant (*.toml, *.patch or *.diff)")
    mutants = [read_mutant(each) for each in files]
    ids = [mutant.id for mutant in mutants]
    doubled = sorted({each for each in ids if ids.count(each) > 1})
    if doubled:
        raise MutantInvalid(f"{directory}: two mutants are named {', '.join(doubled)}")
    return sorted(mutants, key=lambda mutant: _natural(mutant.id))


def read_mutant(path: Path) -> Mutant:
    """Return the mutant that a file holds.

    Raises:
        MutantInvalid: It holds none.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MutantInvalid(f"{path}: cannot be read: {error}") from error
    if path.suffix in DIFF_SUFFIXES:
        return Mutant(id=path.stem, title=path.name, diff=text)
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise MutantInvalid(f"{path}: is no TOML: {error}") from error
    return _from_table(path, table)


def _from_table(path: Path, table: dict[str, Any]) -> Mutant:
    strange = sorted(set(table) - _KNOWN)
    if strange:
        raise MutantInvalid(f"{path}: unknown key {', '.join(strange)}")
    texts = {name: table.get(name, "") for name in _TEXTS}
    for name, value in texts.items():
        if not isinstance(value, str):
            raise MutantInvalid(f"{path}: {name} must be a text")
    if not texts["id"] or not texts["title"]:
        raise MutantInvalid(f"{path}: a mutant needs an id and a title")
    seeds, expected = table.get("seeds", SEEDS_DEFAULT), table.get("expected", [])
    if type(seeds) is not int or seeds < 1:
        raise MutantInvalid(f"{path}: seeds must be a number from 1 on")
    if not isinstance(expected, list) or not all(isinstance(each, str) for each in expected):
        raise MutantInvalid(f'{path}: expected must be a list of checks, such as ["I7"]')
    edits = tuple(_edit(path, each) for each in table.get("edit", []))
    reasons = sum(bool(texts[name]) for name in _REASONS)
    if reasons > 1 or reasons + bool(edits) < 1:
        raise MutantInvalid(f"{path}: needs [[edit]] tables, or one of {', '.join(_REASONS)}")
    return Mutant(**texts, expected=tuple(expected), seeds=seeds, edits=edits)


def _edit(path: Path, table: Any) -> Edit:
    fields = ("file", "old", "new")
    if not isinstance(table, dict) or sorted(table) != sorted(fields):
        raise MutantInvalid(f"{path}: an [[edit]] has exactly {', '.join(fields)}")
    if not all(isinstance(table[name], str) for name in fields) or not table["old"]:
        raise MutantInvalid(f"{path}: file, old and new of an [[edit]] are texts")
    return Edit(table["file"], table["old"], table["new"])


def choose(mutants: Sequence[Mutant], ids: Sequence[str]) -> list[Mutant]:
    """Return those of these ids, or all if none is named.

    Raises:
        MutantInvalid: One is not there.
    """
    known = {mutant.id for mutant in mutants}
    missing = [each for each in ids if each not in known]
    if missing:
        raise MutantInvalid(f"no mutant is named {', '.join(missing)}")
    return [mutant for mutant in mutants if not ids or mutant.id in ids]


def _natural(name: str) -> tuple[str, int, str]:
    letters = name.rstrip("0123456789")
    digits = name[len(letters) :]
    return (letters, int(digits or 0), name)
