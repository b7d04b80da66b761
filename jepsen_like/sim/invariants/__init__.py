"""What must hold after every step, checked from outside the product.

Each module guards the invariants of docs/invariants.md that its first line names, and knows only
what it was shown: records that became durable, messages that left or arrived, commands that ran,
answers that clients got. None of them asks a replica what it thinks of itself where there is
another way to know. ``Invariants`` shows each fact to those whom it concerns.
"""

from jepsen_like.sim.invariants.checkers import Invariants
from jepsen_like.sim.invariants.facts import NodeFacts
from jepsen_like.sim.invariants.histories import Histories
from jepsen_like.sim.invariants.machines import Ran, describe
from jepsen_like.sim.invariants.violation import NAMES, Violation, require

__all__ = [
    "NAMES",
    "Histories",
    "Invariants",
    "NodeFacts",
    "Ran",
    "Violation",
    "describe",
    "require",
]
