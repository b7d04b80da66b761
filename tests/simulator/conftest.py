"""What several tests of the checkers begin with."""

from __future__ import annotations

import pytest

from tests.simulator.stage import Stage


@pytest.fixture
def stage() -> Stage:
    """Return three nodes of which nothing is known yet."""
    return Stage()
