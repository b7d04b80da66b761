"""A recorded history: what was asked, when, and what came of it.

Owns the entry and its JSON Lines form (docs/testing.md), which other tools read too. It knows no
model and no cluster. The order of entries is the order of real time, on one monotonic clock.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, get_args

from paxos.core.errors import PaxosError

NEMESIS = "nemesis"
"""The ``process`` of entries that say what the nemesis did; checkers skip them."""

EntryType = Literal["invoke", "ok", "fail", "info"]
"""``fail`` did not happen. ``info`` may have happened, or may happen later, or never."""


class Entry(NamedTuple):
    """One line of a history.

    Attributes:
        process: Who asked: a number that asks one thing at a time, and is not used again after
            ``info``; or ``NEMESIS``.
        type: Begin or end of an operation.
        f: The operation's name, in the words of its model.
        key: Of what it asked, or None where the model has one object.
        value: Argument on ``invoke``, result on ``ok``; JSON's types only.
        time: Nanoseconds since the run began, on a monotonic clock.
        error: Why it did not happen, or why nobody knows. A refusal always has one; a
            compare-and-set that was answered "no" is ``fail`` without.
    """

    process: int | str
    type: EntryType
    f: str
    key: str | None
    value: Any
    time: int
    error: str | None = None


class HistoryError(PaxosError):
    """A history that no run can have recorded, or that is not in its format.

    Attributes:
        position: Of the entry that is wrong, from 0.
    """

    def __init__(self, text: str, position: int) -> None:
        super().__init__(text)
        self.position = position


class HistoryFile(NamedTuple):
    """What a file holds: the entries, and the line of each, from 1."""

    entries: list[Entry]
    lines: list[int]


# --- writing -------------------------------------------------------------------------------------


def entry_line(entry: Entry) -> str:
    """Return the entry as one line, with its newline."""
    fields = entry._asdict()
    if entry.error is None:
        del fields["error"]
    return json.dumps(fields, ensure_ascii=False, allow_nan=False) + "\n"


def write_history(path: Path, entries: Iterable[Entry]) -> None:
    """Write the entries as JSON Lines; an existing file is replaced."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(map(entry_line, entries))


# --- reading -------------------------------------------------------------------------------------

FIELDS: Final = ("process", "type", "f", "key", "value", "time")
"""What every line has; ``error`` may be there, and anything else is ignored."""

TYPES: Final = frozenset(get_args(EntryType))

TOLD_BY_NEMESIS: Final = ("type", "key", "time", "error")
"""What reports read of a line of the nemesis, beside its ``f`` and its value."""

Parse = Callable[[str], Entry | None]
"""Makes an entry of a line; None if the line is none, ValueError if it is wrong."""


def read_history(path: Path) -> list[Entry]:
    """Read a file of JSON Lines.

    Raises:
        HistoryError: If it is none, or no run can have recorded it. The text names file and line.
        OSError: If it cannot be read.
    """
    return read_lines(path, parse_line, process_reused=False).entries


def read_lines(path: Path, parse: Parse, *, process_reused: bool) -> HistoryFile:
    """Read a file line by line; lines of white space are skipped.

    Args:
        path: The file.
        parse: Makes an entry of a line, or None of a line that is none; raises ValueError.
        process_reused: Whether a process may go on after ``info``.

    Returns:
        The entries with their lines.

    Raises:
        HistoryError: If a line is wrong, or no run can have recorded it. The text names file and
            line.
        OSError: If the file cannot be read.
    """
    entries: list[Entry] = []
    lines: list[int] = []
    order = _Order(process_reused)
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                text = line.decode("utf-8").strip()
                entry = parse(text) if text else None
                if entry is None:
                    continue
                order.add(entry)
            except UnicodeDecodeError:
                raise HistoryError(f"{path}:{number}: not UTF-8", len(entries)) from None
            except ValueError as error:
                raise HistoryError(f"{path}:{number}: {error}", len(entries)) from None
            entries.append(entry)
            lines.append(number)
    return HistoryFile(entries, lines)


def parse_line(text: str) -> Entry:
    """Make an entry of one line of JSON.

    Raises:
        ValueError: If it is none.
    """
    try:
        fields = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("nested too deep") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at column {error.colno}") from None
    if not isinstance(fields, dict):
        raise ValueError(f"not an object: {text[:40]}")
    if fields.get("process") == NEMESIS:
        return _nemesis_entry(fields)
    for name in FIELDS:
        if name not in fields:
            raise ValueError(f"field {name!r} is missing")
    process, type_, f, key, value, time = (fields[name] for name in FIELDS)
    entry = Entry(process, type_, f, key, value, time, fields.get("error"))
    wrong = next((name for name, good in _goodness(entry) if not good), None)
    if wrong is not None:
        raise ValueError(f"{wrong} is {fields[wrong]!r}, not {MEANING[wrong]}")
    return entry


MEANING: Final = {
    "process": "an integer or the text 'nemesis'",
    "type": "invoke, ok, fail or info",
    "f": "a text",
    "key": "a text or null",
    "time": "an integer",
    "error": "a text or null",
}


def _goodness(entry: Entry) -> Iterator[tuple[str, bool]]:
    yield "process", type(entry.process) is int
    yield "type", entry.type in get_args(EntryType)
    yield "f", isinstance(entry.f, str)
    yield "key", entry.key is None or isinstance(entry.key, str)
    yield "time", type(entry.time) is int
    yield "error", entry.error is None or isinstance(entry.error, str)


def _nemesis_entry(fields: dict[str, Any]) -> Entry:
    """Make an entry of what the nemesis did. Checkers skip it, so no shape of it is wrong.

    A field that is not as in our own lines is left out.
    """
    entry = Entry(NEMESIS, "info", str(fields.get("f")), None, fields.get("value"), 0)
    told = entry._replace(**{name: fields[name] for name in TOLD_BY_NEMESIS if name in fields})
    wrong = {name for name, good in _goodness(told) if not good}.intersection(TOLD_BY_NEMESIS)
    return told._replace(**{name: getattr(entry, name) for name in wrong})


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


class _Order:
    """What the lines before say of the next: each process asks one thing at a time."""

    def __init__(self, process_reused: bool) -> None:
        self._asking: dict[int | str, tuple[str, str | None]] = {}
        self._gone: set[int | str] = set()
        self._process_reused = process_reused

    def add(self, entry: Entry) -> None:
        """Take the next entry; raise ValueError if it cannot follow."""
        process, type_, f, key, *_ = entry
        if process == NEMESIS:
            return
        if type_ == "invoke":
            if process in self._asking:
                raise ValueError(f"process {process} invokes, and its last is not answered")
            if process in self._gone:
                raise ValueError(f"process {process} invokes after info, when nobody knows its end")
            self._asking[process] = (f, key)
            return
        asked = self._asking.pop(process, None)
        if asked is None:
            raise ValueError(f"{type_} of process {process}, which has not invoked anything")
        if asked != (f, key):
            raise ValueError(f"{type_} of process {process} is for {(f, key)}, not {asked}")
        if type_ == "info" and not self._process_reused:
            self._gone.add(process)
