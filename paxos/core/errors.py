"""What the core raises: at a caller's nonsense and its own broken invariants, never at a peer's."""

from __future__ import annotations


class PaxosError(Exception):
    """Base of every error this library raises on purpose."""


class ConfigurationInvalid(PaxosError):
    """A configuration that cannot be safe or cannot be understood; the text says why."""


class InvariantBroken(PaxosError):
    """The node found that it broke its own rules. It must stop: nothing it says can be trusted."""


def ensure(condition: object, text: str) -> None:
    """Stop the node unless ``condition`` holds. Survives ``python -O``, unlike ``assert``.

    Raises:
        InvariantBroken: The condition is false.
    """
    if not condition:
        raise InvariantBroken(text)
