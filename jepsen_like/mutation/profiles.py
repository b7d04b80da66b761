"""The judges that look for a mutant: each runs one seed of something and says what was violated.

A judge is a function from a seed to a ``Finding`` or None, and so is what it judges: the product as
it lies on ``sys.path``. It runs in a process of its own, whose packages are an overlay. It must
never know that there is a mutant, or which.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

Judge = Callable[[int], "Finding | None"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a judge saw at one seed.

    Attributes:
        check: Which check saw it, such as "I7".
        text: What it saw.
        seconds: Virtual time until then, where the judge has such a thing.
    """

    check: str
    text: str
    seconds: float | None = None


PROFILES = {
    "arithmetic": "jepsen_like.mutation.profile_arithmetic",
    "tasks": "jepsen_like.mutation.profile_tasks",
    "wire": "jepsen_like.mutation.profile_wire",
    "cluster": "jepsen_like.mutation.profile_cluster",
    "elections": "jepsen_like.mutation.profile_elections",
    "years": "jepsen_like.mutation.profile_years",
    "storage": "jepsen_like.mutation.profile_storage",
    "processes": "jepsen_like.mutation.profile_processes",
}
"""By name, the module whose ``judge`` it is. What runs fast stands before what runs slowly: a
mutant that names no profile is looked for in this order."""


def load_judge(profile: str) -> Judge:
    """Return a profile's judge. Imports only what that one needs."""
    judge: Judge = importlib.import_module(PROFILES[profile]).judge
    return judge
