"""The service example, over each transport: it runs to its end, and shows what it says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from paxos.testing.processes import free_base_port
from tests.cli.replicas import processes_that_name

pytestmark = pytest.mark.processes

EXAMPLE = Path(__file__).parents[2] / "examples" / "service.sh"


def directory_with_paxos(directory: Path) -> Path:
    """Return a directory with a ``paxos`` that runs this tree, whether it is installed or not."""
    script = directory / "paxos"
    script.write_text(
        f'#!/bin/sh\nPYTHONPATH="{EXAMPLE.parents[1]}" exec "{sys.executable}" -m paxos.cli "$@"\n'
    )
    script.chmod(0o755)
    return directory


@pytest.mark.parametrize("transport", ["tcp", "ws"])
def test_service_example_over_each_transport_runs_and_cleans_up(
    tmp_path: Path, transport: str
) -> None:
    for name in ("bin", "empty", "temporary"):
        (tmp_path / name).mkdir()
    path = f"{directory_with_paxos(tmp_path / 'bin')}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", str(EXAMPLE), transport, str(free_base_port(3))],
        cwd=tmp_path / "empty",
        env=os.environ | {"PATH": path, "TMPDIR": str(tmp_path / "temporary")},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = done.stdout.splitlines()
    assert sum('"event":"ready"' in line for line in told) == 4
    assert sum(f"{transport}://127.0.0.1" in line and "leader" in line for line in told) == 1
    assert told.count("25") == 1
    assert told.count("30") == 1
    assert "refused: somebody was faster" in told
    assert [line.split()[-1] for line in told[-2:]] == ["25", "30"]
    assert list((tmp_path / "temporary").iterdir()) == []
    assert list((tmp_path / "empty").iterdir()) == []
    assert processes_that_name(str(tmp_path)) == []
