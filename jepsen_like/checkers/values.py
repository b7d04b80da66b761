"""Values of JSON as keys: equal exactly when the values are equal as JSON.

Python takes ``True`` for 1; a store that answers ``true`` for 1 is wrong, so the two must differ.
1 and 1.0 are one number of JSON, and stay equal.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

PLAIN = frozenset({int, str, type(None), float})
"""Types that are their own key."""


def key_of(value: Any) -> Hashable:
    """Return a hashable that is equal for equal values of JSON only."""
    if type(value) in PLAIN:
        return value  # type: ignore[no-any-return]
    if isinstance(value, bool):
        return ("bool", value is True)
    if isinstance(value, list | tuple):
        return ("list", *map(key_of, value))
    if isinstance(value, dict):
        return ("dict", frozenset((str(name), key_of(each)) for name, each in value.items()))
    raise TypeError(f"{value!r} is no value of JSON")
