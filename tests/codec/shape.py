"""The codec's naive twin: is a value what its class's annotations say, all the way down?"""

from __future__ import annotations

import dataclasses
import types
from typing import Any, Union, get_args, get_origin, get_type_hints

from paxos.codec import INTEGER_MAX


def faults(value: Any) -> list[str]:
    """Return what is wrong with a message or record; nothing if it is as annotated."""
    hints = get_type_hints(type(value))
    names = [field.name for field in dataclasses.fields(value)]
    return [
        f"{name}: {getattr(value, name)!r}"
        for name in names
        if not _fits(getattr(value, name), hints[name])
    ]


def _fits(value: Any, wanted: Any) -> bool:
    origin = get_origin(wanted)
    if origin in (Union, types.UnionType):
        return any(_fits(value, each) for each in get_args(wanted))
    if origin is tuple:
        first, second = get_args(wanted)
        if second is not Ellipsis:
            return (
                type(value) is tuple
                and len(value) == 2
                and _fits(value[0], first)
                and _fits(value[1], second)
            )
        return type(value) is tuple and all(_fits(item, first) for item in value)
    if origin is frozenset:
        (each,) = get_args(wanted)
        return type(value) is frozenset and all(_fits(item, each) for item in value)
    if type(value) is not wanted:
        return False
    if wanted is int:
        return bool(0 <= value <= INTEGER_MAX)
    if dataclasses.is_dataclass(value):
        return faults(value) == []
    if isinstance(value, tuple):
        hints = get_type_hints(wanted)
        return len(value) == len(hints) and all(map(_fits, value, hints.values()))
    return True
