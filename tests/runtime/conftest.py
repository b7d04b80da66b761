"""Runs this directory's async tests under trio; those marked ``virtual_time`` never wait."""

from __future__ import annotations

import inspect
from functools import partial

import pytest
import trio
from trio.testing import MockClock

TEST_TIMEOUT_S = 30.0


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine function with ``trio.run``; a test that hangs fails instead."""
    function = pyfuncitem.obj
    if not inspect.iscoroutinefunction(function):
        return None
    names = inspect.signature(function).parameters
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    virtual = pyfuncitem.get_closest_marker("virtual_time") is not None

    async def run() -> None:
        # On virtual time the longest wait is jumped over, so a hang needs a longer leash.
        with trio.fail_after(TEST_TIMEOUT_S * (100 if virtual else 1)):
            await function(**arguments)

    trio.run(partial(run), clock=MockClock(autojump_threshold=0) if virtual else None)
    return True
