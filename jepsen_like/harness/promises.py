"""What a replicated state machine promises, each in one line, and how a broken one is told.

The promises of the protocol itself are the numbered invariants of docs/invariants.md; those here
are the state machine's own. It knows neither a cluster nor a test framework.
"""

from __future__ import annotations

RESULTS_ARE_BYTES = "results are bytes"
FAILURE_CHANGES_NOTHING = "a command that fails leaves the state as it was"
QUERY_CHANGES_NOTHING = "a query leaves the state as it was"
WATCH_CHANGES_NOTHING = "a watch leaves the state as it was"
SNAPSHOT_IS_ALL = "a snapshot is the whole state"
RESTORE_REPLACES = "restore replaces the whole state"
SNAPSHOT_WORKS = "snapshot and restore never fail"
SAME_RUN_SAME_ANSWERS = "the same commands give the same answers"
SAME_RUN_SAME_STATE = "the same commands give the same state"
SAME_EVERYWHERE = "answers and state are the same in every process, at any time, anywhere"
ARGUMENTS_UNTOUCHED = "apply and restore leave what they are given as it was"
SNAPSHOT_STANDS_STILL = "a snapshot shows the moment at which it was asked for"
DONE_STAYS_DONE = "what a client was told is what the log says"
LINEARIZABLE = "linearizable: every answer fits one order of all operations"
WATCHES_TELL = "a watch tells what there is to tell"
HEALED_CLUSTER_WORKS = "a healed cluster does what it is asked"

_SAME_RUN = (SAME_RUN_SAME_ANSWERS, SAME_RUN_SAME_STATE, SNAPSHOT_IS_ALL)


def alike(one: str, other: str) -> bool:
    """Whether two promises are of one kind, so that a bug that breaks one may as well the other.

    A node that differs after a restore may differ without it too: which it is, the shortest story
    tells.
    """
    return one == other or (one in _SAME_RUN and other in _SAME_RUN)


class Broken(BaseException):
    """A promise was broken.

    Not an Exception: it is often seen from inside a state machine, where a replica turns every
    Exception into a result.

    Attributes:
        promise: Which, in one line.
        text: What was seen.
    """

    def __init__(self, promise: str, text: str) -> None:
        super().__init__(f"{promise}: {text}")
        self.promise = promise
        self.text = text


def keep(condition: bool, promise: str, text: str, *facts: object) -> None:
    """Raise ``Broken`` unless ``condition`` holds."""
    if not condition:
        raise Broken(promise, text.format(*facts))


def shown(data: bytes) -> str:
    """Return bytes as a story shows them: as Python writes them, long ones cut."""
    return repr(data) if len(data) <= 60 else f"{data[:40]!r}... ({len(data)} bytes)"


def shown_result(result: bytes) -> str:
    """Return a result that the conformance suite marked as done, failed or raised."""
    verb, _, data = result.partition(b" ")
    if verb == b"done":
        return shown(data)
    return f"{verb.decode(errors='backslashreplace')} ({data.decode(errors='backslashreplace')})"
