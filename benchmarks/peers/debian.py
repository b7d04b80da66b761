"""Where Debian put what a peer's load generator is built from, and where we put what we build."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.peers.children import ClusterFailed

HERE = Path(__file__).resolve().parent
BUILD = HERE / "build"


def is_built(product: Path, source: Path) -> bool:
    """Whether a file was made from a directory of sources as they are now."""
    if not product.exists():
        return False
    made = product.stat().st_mtime
    return all(file.stat().st_mtime <= made for file in source.iterdir())


def build(command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> None:
    """Run a compiler.

    Raises:
        ClusterFailed: It did not compile; the text has what it said last.
    """
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        said = ended.stderr.strip().splitlines() or [f"exit status {ended.returncode}"]
        raise ClusterFailed(f"{command[0]}: {said[-1]}")


def packaged_file(package: str, suffix: str) -> str:
    """Return the path in an installed package that ends in ``suffix``, or the empty text."""
    try:
        listed = subprocess.run(
            ["dpkg", "-L", package], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:  # no Debian
        return ""
    return next((line for line in listed.stdout.splitlines() if line.endswith(suffix)), "")
