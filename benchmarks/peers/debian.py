"""Where Debian put what a peer is built from, and where we put what we build of it."""

from __future__ import annotations

import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILD = HERE / "build"


def packaged_file(package: str, suffix: str) -> str:
    """Return the path in an installed package that ends in ``suffix``, or the empty text."""
    try:
        listed = subprocess.run(
            ["dpkg", "-L", package], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:  # no Debian
        return ""
    return next((line for line in listed.stdout.splitlines() if line.endswith(suffix)), "")
