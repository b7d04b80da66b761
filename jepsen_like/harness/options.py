"""What a test run asks of all cluster tests: seed, replay, report, budget.

Plain values and how they are read from a command line. No imports beyond the standard library: the
plugin loads this at the start of every test run of everyone who has the package installed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

EXAMPLES_MANY = 1_000_000
"""For a budget of time alone: more than any run gets to."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How much is tried.

    Attributes:
        examples: At most so many scenarios, or None for the test's own number.
        seconds: For at most so long, or None for as long as it takes.
    """

    examples: int | None = None
    seconds: float | None = None

    def __str__(self) -> str:
        return f"{self.examples} examples" if self.seconds is None else f"{self.seconds:g}s"


@dataclass(frozen=True, slots=True)
class Options:
    """What one test is run with.

    Attributes:
        seed: Decides everything that is drawn, or None for chance.
        replay: A token, a scenario, or the name of a file that holds one; "" to draw.
        report: Where reports of failures go, or None for none.
        budget: How much is tried.
        test: The test's name as its framework knows it, for the line that replays.
    """

    seed: int | None = None
    replay: str = ""
    report: Path | None = None
    budget: Budget = Budget()
    test: str = ""


def read_budget(text: str) -> Budget:
    """Read "200" or "200 examples", or "30s".

    Raises:
        ValueError: It is neither.
    """
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?(s|examples)?", text.strip())
    if match is None:
        raise ValueError(
            f"a budget is a number of examples (200) or of seconds (30s), not {text!r}"
        )
    number, unit = match.groups()
    if unit == "s":
        if float(number) <= 0:
            raise ValueError("a budget of no seconds tries nothing")
        return Budget(EXAMPLES_MANY, float(number))
    if "." in number or int(number) == 0:
        raise ValueError(f"a number of examples is whole and above 0, not {number}")
    return Budget(int(number), None)
