"""The formats of histories: our own, and two in which known histories were recorded.

A format makes entries of lines; what it means that a process goes on after ``info`` is the only
other thing in which they differ. The two logs say that it does not happen, and older ones have it:
the operation stays open and the process asks the next, so nothing is lost by allowing it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from jepsen_like.edn import parse_edn
from jepsen_like.history import (
    NEMESIS,
    TYPES,
    Entry,
    HistoryError,
    HistoryFile,
    Parse,
    parse_line,
    read_lines,
)

LOG_LINE: Final = re.compile(r"[A-Z]+\s+(?:\[[^\]]*\]\s+)?([\w.]+)\s+-\s?(.*)", re.DOTALL)
JEPSEN_LOGGER: Final = "jepsen.util"


def parse_log_line(text: str) -> Entry | None:
    r"""Make an entry of ``INFO jepsen.util - PROCESS\tTYPE\tF\tVALUE``; other loggers are skipped.

    Raises:
        ValueError: If it is no such line.
    """
    line = LOG_LINE.fullmatch(text)
    if line is None:
        raise ValueError(f"no line of a log: {text[:40]!r}")
    if line[1] != JEPSEN_LOGGER:
        return None
    columns = [column.strip() for column in line[2].split("\t")]
    if len(columns) < 4:
        raise ValueError(f"{len(columns)} columns, not process, type, f, value: {line[2][:40]!r}")
    process, type_, f, value = map(parse_edn, columns[:4])
    return _entry({":process": process, ":type": type_, ":f": f, ":value": value})


def parse_map_line(text: str) -> Entry:
    """Make an entry of ``{:process P, :type TYPE, :f F, :key "K", :value V}``.

    Raises:
        ValueError: If it is no such line.
    """
    fields = parse_edn(text)
    if not isinstance(fields, dict):
        raise ValueError(f"not a map: {text[:40]!r}")
    if ":key" not in fields and fields.get(":process") != ":nemesis":
        raise ValueError("field :key is missing")
    return _entry(fields)


def _entry(fields: dict[Any, Any]) -> Entry:
    for name in (":process", ":type", ":f", ":value"):
        if name not in fields:
            raise ValueError(f"field {name} is missing")
    process, type_, f, value = (fields[name] for name in (":process", ":type", ":f", ":value"))
    if process == ":nemesis":
        process = NEMESIS
    elif type(process) is not int:
        raise ValueError(f"process is {process!r}, not an integer")
    if not isinstance(type_, str) or type_[1:] not in TYPES:
        raise ValueError(f"type is {type_!r}, not :invoke, :ok, :fail or :info")
    if not isinstance(f, str) or not f.startswith(":"):
        raise ValueError(f"f is {f!r}, not a keyword")
    key = fields.get(":key")
    error = value if type_ in (":fail", ":info") and isinstance(value, str) else None
    key = key if key is None or isinstance(key, str) else str(key)
    kind: Any = type_[1:]
    return Entry(process, kind, f[1:], key, value, 0, error)


class Format(NamedTuple):
    """How the lines of a file are read, and the file names that say so."""

    parse: Parse
    suffix: str
    process_reused: bool


FORMATS: Mapping[str, Format] = {
    "jsonl": Format(parse_line, ".jsonl", process_reused=False),
    "jepsen-log": Format(parse_log_line, ".log", process_reused=True),
    "kv-log": Format(parse_map_line, ".txt", process_reused=True),
}


def read_file(path: Path, format_name: str | None = None) -> HistoryFile:
    """Read a history in the format of that name, or in the one that the file's name says.

    Raises:
        HistoryError: If the format is not known, or the file is not in it. The text names the file,
            and the line where there is one.
        OSError: If it cannot be read.
    """
    if format_name is None:
        suffix = path.suffix.lower()
        format_name = next((n for n, each in FORMATS.items() if each.suffix == suffix), None)
        if format_name is None:
            known = ", ".join(f"{each.suffix} ({name})" for name, each in FORMATS.items())
            raise HistoryError(f"{path}: no format for {path.suffix!r}; known are {known}", 0)
    chosen = FORMATS[format_name]
    return read_lines(path, chosen.parse, process_reused=chosen.process_reused)
