"""What it is to break an invariant: its number, its name, and what was seen."""

from __future__ import annotations

NAMES = {
    0: "a replica never raises",
    1: "at most one value is chosen for a slot",
    2: "a promise never decreases",
    3: "a ballot has one proposer and one value per slot",
    4: "what is chosen is proposed again",
    5: "the log has no gap",
    6: "equal slots, equal state",
    7: "durable before visible",
    8: "quorums are sets of voters",
    9: "exactly once",
    10: "what was done stays done",
    11: "linearizable",
    12: "watches deliver in order, once",
    13: "a healed cluster works",
    14: "no vote after a failed sync",
    15: "the same seed, the same trace",
    16: "everything held is bounded",
}


class Violation(BaseException):
    """An invariant does not hold.

    Not an Exception: a replica turns every Exception of a state machine into a result, and a
    checker that looks on from inside a state machine must get through.

    Attributes:
        number: Which, as docs/invariants.md numbers it.
        text: What was seen.
    """

    def __init__(self, number: int, text: str) -> None:
        super().__init__(f"I{number} ({NAMES[number]}): {text}")
        self.number = number
        self.text = text


def require(condition: object, number: int, text: str, *facts: object) -> None:
    """Raise a violation of invariant ``number`` unless ``condition`` holds.

    Args:
        condition: What must be true.
        number: The invariant that asks for it.
        text: What was seen if it is not, with ``{}`` for each of ``facts``.
        facts: Turned into text only then.
    """
    if not condition:
        raise Violation(number, text.format(*facts))
