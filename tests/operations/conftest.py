"""Runs this directory's async tests under trio, on virtual time: no wait of a flow takes any."""

from __future__ import annotations

import inspect

import pytest
import trio
from trio.testing import MockClock


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine function with ``trio.run``."""
    function = pyfuncitem.obj
    if not inspect.iscoroutinefunction(function):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in inspect.signature(function).parameters}

    async def run() -> None:
        await function(**arguments)

    trio.run(run, clock=MockClock(autojump_threshold=0))
    return True
