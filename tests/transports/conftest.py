"""What the tests of transports share."""

from __future__ import annotations

import pytest
from trio.testing import MockClock


@pytest.fixture
def autojump_clock() -> MockClock:
    """A clock on which nobody waits: it jumps to the next deadline when all tasks wait."""
    return MockClock(autojump_threshold=0)
