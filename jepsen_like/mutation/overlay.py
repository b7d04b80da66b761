"""A copy of the packages with one mutant in it, and a way to know that it was really imported.

Owns what is copied and how a patch is applied. The checkout itself is never written to: a mutant
that was forgotten there would be the worst bug of all.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from jepsen_like.mutation.mutant import Edit, Mutant, MutantInvalid

PACKAGES = ("paxos", "transports", "statemachines", "jepsen_like")
"""What an overlay holds. The judge runs from it too, so that all it imports is from one place."""

PRODUCT = ("paxos", "transports", "statemachines")
"""What a mutant may change: never what judges it."""


def packages_root() -> Path:
    """Return the directory in which the packages lie that this process runs."""
    return Path(__file__).resolve().parents[2]


@contextmanager
def overlay(mutant: Mutant | None, root: Path | None = None) -> Iterator[Path]:
    """Make a copy of the packages, with a mutant in it or unchanged, and remove it afterwards.

    Args:
        mutant: What to put in.
        root: Where the packages lie; those that this process runs by default.

    Raises:
        MutantInvalid: It does not apply, or what it makes is no Python.
    """
    with TemporaryDirectory(prefix="paxos-mutant-") as name:
        directory = Path(name).resolve()
        source = packages_root() if root is None else root
        for package in PACKAGES:
            # With the compiled modules: a copy keeps the times by which they are known as fresh.
            shutil.copytree(source / package, directory / package)
        if mutant is not None:
            apply(mutant, directory)
        yield directory


def apply(mutant: Mutant, directory: Path) -> list[Path]:
    """Put a mutant into a copy of the packages; return the files that it changed.

    Raises:
        MutantInvalid: It does not apply, or what it makes is no Python.
    """
    changed = (
        _apply_diff(mutant, directory)
        if mutant.diff
        else [_apply_edit(mutant, edit, directory) for edit in mutant.edits]
    )
    for path in dict.fromkeys(changed):
        try:
            ast.parse(path.read_text(encoding="utf-8"), str(path))
        except (SyntaxError, ValueError) as error:
            raise MutantInvalid(f"{mutant.id}: what it makes is no Python: {error}") from error
    return changed


def _apply_edit(mutant: Mutant, edit: Edit, directory: Path) -> Path:
    path = _inside(mutant, edit.file, directory)
    text = path.read_text(encoding="utf-8")
    count = text.count(edit.old)
    if count != 1:
        first = edit.old.strip().splitlines()[0]
        raise MutantInvalid(
            f"{mutant.id}: in {edit.file} the text to replace stands {count} times, not once"
            f" ({first!r} ...)"
        )
    path.write_text(text.replace(edit.old, edit.new), encoding="utf-8")
    _forget_compiled(path)
    return path


def _inside(mutant: Mutant, file: str, directory: Path) -> Path:
    path = (directory / file).resolve()
    if not path.is_file() or path.relative_to(directory).parts[0] not in PRODUCT:
        raise MutantInvalid(f"{mutant.id}: {file} is no file of {', '.join(PRODUCT)}")
    return path


def _forget_compiled(path: Path) -> None:
    """An edit within a second that keeps the length would otherwise pass for the old source."""
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
        compiled.unlink()


def _apply_diff(mutant: Mutant, directory: Path) -> list[Path]:
    """Apply a unified diff with whatever tool this machine has."""
    git, patch = shutil.which("git"), shutil.which("patch")
    if git is not None:
        # Outside any repository, so that no ignore file and no index has a say.
        command = [git, "apply", "--whitespace=nowarn", "-p1", "-"]
    elif patch is not None:
        command = [patch, "--batch", "--forward", "-p1"]
    else:
        raise MutantInvalid(f"{mutant.id}: a unified diff needs `git` or `patch`, and none is here")
    names = _diff_files(mutant.diff)
    if not names:
        raise MutantInvalid(f"{mutant.id}: is no unified diff: it names no file")
    paths = [_inside(mutant, name, directory) for name in names]
    done = subprocess.run(
        command,
        cwd=directory,
        input=mutant.diff.encode(),
        capture_output=True,
        env={**os.environ, "GIT_CEILING_DIRECTORIES": str(directory.parent)},
        check=False,
    )
    if done.returncode:
        why = (done.stderr + done.stdout).decode(errors="replace").strip()
        raise MutantInvalid(f"{mutant.id}: the diff does not apply: {why}")
    for path in paths:
        _forget_compiled(path)
    return paths


def _diff_files(diff: str) -> list[str]:
    """Return the files that a diff changes, without the prefix that git and diff put in front."""
    names = [line[4:].split("\t")[0].strip() for line in diff.splitlines() if line[:4] == "+++ "]
    return [name.partition("/")[2] for name in names]


def environment(directory: Path) -> dict[str, str]:
    """Return the environment of a process that runs from an overlay."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
        "PYTHONPATH": str(directory),
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def strangers(directory: Path, modules: Mapping[str, object] | None = None) -> list[str]:
    """Return the modules of ours that this process imported from anywhere but an overlay."""
    found = sys.modules if modules is None else modules
    return sorted(
        name
        for name, module in found.items()
        if name.partition(".")[0] in PACKAGES
        and not Path(getattr(module, "__file__", None) or "").is_relative_to(directory)
    )
