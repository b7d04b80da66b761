"""What a cluster test raises: a broken promise, or a run that proves nothing.

Both are AssertionErrors, so that every test framework counts them as failures of the test and not
as errors of the harness. Their text is all that is to be shown; the plugin leaves out the rest.
"""

from __future__ import annotations

from jepsen_like.harness.run import Run


class ClusterTestFailed(AssertionError):
    """Why a cluster test fails."""


class PromiseBroken(ClusterTestFailed):
    """A promise does not hold; the text tells the shortest story found.

    Attributes:
        run: That story's run.
    """

    def __init__(self, text: str, run: Run) -> None:
        super().__init__(text)
        self.run = run


class ProvedNothing(ClusterTestFailed):
    """Nothing broke, but too little happened: whether the promises hold is unknown."""
