"""What importing the core drags in, seen from a process that has loaded nothing else.

The import contracts read what is written; this sees what happens, through the standard library's
own imports too. The child runs without site, environment or user directory, and gets this tree and
the installed distributions as its only path, so that an import that *could* succeed would.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.architecture.sources import ROOT, load_below

HEAVY = ("asyncio", "msgpack", "socket", "ssl", "structlog", "threading", "trio")

PROBE = """
import importlib, json, sys
sys.path[:0] = json.loads(sys.argv[1])
for name in json.loads(sys.argv[2]):
    importlib.import_module(name)
print(json.dumps(sorted(set(json.loads(sys.argv[3])) & set(sys.modules))))
"""


def loaded_after(modules: list[str], of: tuple[str, ...]) -> list[str]:
    """Return which of the modules ``of`` are loaded once ``modules`` are, in a clean process."""
    spec = find_spec("trio")
    assert spec is not None
    assert spec.origin is not None
    path = [str(ROOT), str(Path(spec.origin).parents[1])]
    arguments = [json.dumps(each) for each in (path, modules, of)]
    child = subprocess.run(
        [sys.executable, "-I", "-S", "-c", PROBE, *arguments],
        env={},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    found: list[str] = json.loads(child.stdout)
    return found


def test_core_imported_whole_leaves_the_world_unloaded() -> None:
    modules = [source.module for source in load_below("paxos.core")]
    assert "paxos.core.acceptor" in modules
    assert loaded_after(modules, HEAVY) == []


def test_package_imported_alone_leaves_the_world_unloaded() -> None:
    assert loaded_after(["paxos"], HEAVY) == []


def test_simulator_imported_whole_leaves_trio_unloaded() -> None:
    modules = [source.module for source in load_below("jepsen_like.sim")]
    assert loaded_after(modules, ("trio", "structlog", "asyncio")) == []


@pytest.mark.parametrize("module", HEAVY)
def test_probe_of_what_is_loaded_sees_each_heavy_module(module: str) -> None:
    assert loaded_after([module], (module,)) == [module]
