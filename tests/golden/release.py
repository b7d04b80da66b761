"""The release before features, kept to be run beside this one: its wheel, and what it wrote.

Owns where these things lie and how they are used. The wheel is unpacked into a directory of its
own, which stands in front of the module path of a process of its own: nothing of it is ever
imported here. ``make.py`` says how everything was made; nothing of it is ever made again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

GOLDEN = Path(__file__).parent
WHEEL = GOLDEN / "multipaxos-0.1.0-py3-none-any.whl"
"""Built from commit 5b14604: feature 1, handshake 1, records of format 1."""

STORAGES = ("segments", "sqlite")
RUN_TIMEOUT_S = 60


def unpack_release(directory: Path) -> Path:
    """Unpack the wheel below ``directory``; return what belongs in front of the module path."""
    release = directory / "release-before"
    with zipfile.ZipFile(WHEEL) as wheel:
        wheel.extractall(release)  # noqa: S202 - our own wheel, made from our own commit
    return release


def environment(release: Path) -> dict[str, str]:
    """Return the environment in which Python finds that release, and this tree only by path."""
    return {**os.environ, "PYTHONPATH": str(release), "PYTHONSAFEPATH": "1"}


def command(*arguments: str) -> list[str]:
    """Return the command line of ``paxos`` for a process of its own."""
    return [sys.executable, "-m", "paxos.cli", *arguments]


def run(
    release: Path, arguments: Sequence[str], stdin: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    """Run ``paxos`` of that release, to its end."""
    return subprocess.run(
        command(*arguments),
        env=environment(release),
        input=stdin,
        capture_output=True,
        timeout=RUN_TIMEOUT_S,
        check=False,
    )


def unpack_cluster(storage: str, directory: Path) -> Path:
    """Unpack the cluster that the release wrote with ``storage``; return its cluster file."""
    with tarfile.open(GOLDEN / f"cluster-{storage}.tar.gz") as packed:
        packed.extractall(directory, filter="data")
    return directory / f"cluster-{storage}" / "cluster.toml"


def contents(storage: str) -> Mapping[str, str]:
    """Return the keys and values that were acknowledged to the writer of that cluster."""
    found: dict[str, dict[str, str]] = json.loads((GOLDEN / "contents.json").read_text())
    return found[storage]
