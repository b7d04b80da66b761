"""What an error looks like to whoever opened a node or client: plain, if it is one.

Nurseries put every error in a group. A caller who writes ``except StorageFailed`` must see it, so
a group that holds exactly one error is replaced by that error at the border of the library.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def plain_errors() -> Iterator[None]:
    """Replace a group of exactly one error, however deeply nested, by that error."""
    try:
        yield
    except BaseExceptionGroup as group:
        errors = list(_leaves(group))
        if len(errors) > 1:
            raise
        error = errors[0]
        cause, context, hidden = error.__cause__, error.__context__, error.__suppress_context__
        try:
            raise error
        finally:
            # Raising here must not make the group look like the reason.
            error.__cause__, error.__context__ = cause, context
            error.__suppress_context__ = hidden


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
