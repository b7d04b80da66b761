"""The release before, unpacked once: a process that starts from it finds it compiled."""

from __future__ import annotations

import compileall
from pathlib import Path

import pytest

from tests.golden import release


@pytest.fixture(scope="session")
def release_before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return what belongs in front of the module path of the release before."""
    unpacked = release.unpack_release(tmp_path_factory.mktemp("release"))
    assert compileall.compile_dir(unpacked, quiet=2)
    return unpacked
