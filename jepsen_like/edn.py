"""Reads the little of EDN in which Jepsen's histories are written.

Scalars, vectors, lists, sets and maps become JSON's values; a keyword becomes its name with the
colon in front, so that ``:timed-out`` is never taken for a text that somebody wrote.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

TOKEN: Final = re.compile(
    r"""[\s,]*(?:
        (?P<open>\#\{|[\[({]) | (?P<close>[\])}])
        | (?P<text>"(?:[^"\\]|\\.)*")
        | (?P<word>[^\s,\[\](){}"]+)
    )""",
    re.VERBOSE,
)
CLOSING: Final = {"[": "]", "(": ")", "{": "}", "#{": "}"}
WORDS: Final = {"nil": None, "true": True, "false": False}
DEPTH_MAX: Final = 100
"""Histories nest a vector in a map; what is deeper is no history."""


def parse_edn(text: str) -> Any:
    """Return the one value that the text holds.

    Raises:
        ValueError: If it holds none, more than one, or what is not understood.
    """
    value, end = _value(text, 0, 0)
    if text[end:].strip(" \t,"):
        raise ValueError(f"more than one value: {text[end:].strip()[:40]!r}")
    return value


def _value(text: str, start: int, depth: int) -> tuple[Any, int]:
    token = TOKEN.match(text, start)
    if token is None or token["close"]:
        raise ValueError(f"no value at column {start + 1}")
    if token["open"]:
        if depth == DEPTH_MAX:
            raise ValueError("nested too deep")
        return _collection(text, token["open"], token.end(), depth + 1)
    if token["text"]:
        return json.loads(token["text"], strict=False), token.end()
    return _word(token["word"]), token.end()


def _word(word: str) -> Any:
    if word in WORDS:
        return WORDS[word]
    if word.startswith(":") and len(word) > 1:
        return word
    try:
        return int(word)
    except ValueError:
        pass  # not a whole number; it may be another
    if word[0] in "+-.0123456789":
        return float(word)
    raise ValueError(f"{word!r} is not understood")


def _collection(text: str, opening: str, start: int, depth: int) -> tuple[Any, int]:
    values = []
    while True:
        token = TOKEN.match(text, start)
        if token is None:
            raise ValueError(f"{opening!r} is not closed")
        if token["close"]:
            break
        value, start = _value(text, start, depth)
        values.append(value)
    if token["close"] != CLOSING[opening]:
        raise ValueError(f"{opening!r} is closed by {token['close']!r}")
    if opening != "{":
        return values, token.end()
    if len(values) % 2 or any(isinstance(name, list | dict) for name in values[::2]):
        raise ValueError("a map without pairs of a name and a value")
    return dict(zip(values[::2], values[1::2], strict=True)), token.end()
