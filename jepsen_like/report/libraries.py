"""Which libraries a report needs, and what is said where they are missing.

Looking does not import them: a program asks before a run that takes a minute, and matplotlib takes
a second.
"""

from __future__ import annotations

from importlib.util import find_spec

from paxos.core.errors import PaxosError

NEEDED = ("jinja2", "matplotlib")


class ReportUnavailable(PaxosError):
    """A library that reports are made with is not installed; the text says how to get it."""


def available() -> str | None:
    """Return None if a report can be made here, else a sentence that says what to install."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if not missing:
        return None
    return f"a report needs {' and '.join(missing)}: pip install 'multipaxos[test]'"


def require() -> None:
    """Go on only where a report can be made.

    Raises:
        ReportUnavailable: A library is missing.
    """
    trouble = available()
    if trouble is not None:
        raise ReportUnavailable(trouble)
