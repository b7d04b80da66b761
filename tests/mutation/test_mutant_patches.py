"""The patches of tests/mutants: each is well formed, and still applies to today's source."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from jepsen_like.mutation.mutant import Edit, Mutant, MutantInvalid, read_mutants
from jepsen_like.mutation.overlay import PRODUCT, apply, overlay, packages_root, strangers
from jepsen_like.mutation.profiles import PROFILES
from paxos.core import quorum

DIRECTORY = Path(__file__).parents[1] / "mutants"
MUTANTS = read_mutants(DIRECTORY)
RUNNABLE = [mutant for mutant in MUTANTS if mutant.runnable]


def copied(mutant: Mutant, directory: Path) -> None:
    """Copy just the files that a mutant changes."""
    for edit in mutant.edits:
        target = directory / edit.file
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((packages_root() / edit.file).read_bytes())


@pytest.mark.parametrize("mutant", RUNNABLE, ids=lambda mutant: mutant.id)
def test_patch_of_a_mutant_on_todays_source_applies_and_compiles(
    mutant: Mutant, tmp_path: Path
) -> None:
    copied(mutant, tmp_path)
    changed = apply(mutant, tmp_path)
    assert changed
    for path in changed:
        before = (packages_root() / path.relative_to(tmp_path)).read_text(encoding="utf-8")
        assert path.read_text(encoding="utf-8") != before


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.id)
def test_mutant_says_what_it_breaks_and_who_may_find_it(mutant: Mutant) -> None:
    assert re.fullmatch(r"[A-Z]\d+", mutant.id)
    assert mutant.breaks.endswith(".")
    if mutant.runnable:
        assert mutant.expected
        assert mutant.profile in PROFILES
        assert {edit.file.split("/")[0] for edit in mutant.edits} <= set(PRODUCT)


def test_file_of_every_mutant_begins_with_its_id() -> None:
    names = sorted(path.name.partition("-")[0].upper() for path in DIRECTORY.glob("*.toml"))
    assert names == sorted(mutant.id for mutant in MUTANTS)


def test_mutants_of_every_family_of_bugs_are_there() -> None:
    assert {mutant.id[0] for mutant in MUTANTS} == set("ABCDEFGHJTW")


def test_mutant_held_by_a_test_names_one_that_exists() -> None:
    for mutant in MUTANTS:
        if mutant.held_by:
            file, _, name = mutant.held_by.partition("::")
            text = (DIRECTORY.parents[1] / file).read_text(encoding="utf-8")
            assert f"def {name}(" in text, mutant.id


# --- what is refused -----------------------------------------------------------------------------

EDIT = '[[edit]]\nfile = "paxos/core/quorum.py"\nold = "class Quorums"\nnew = "class Quora"\n'


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("id = ", "is no TOML"),
        ('id = "X1"\n' + EDIT, "needs an id and a title"),
        ('id = "X1"\ntitle = "t"\n', "needs \\[\\[edit\\]\\] tables"),
        ('id = "X1"\ntitle = "t"\nseed = 3\n' + EDIT, "unknown key seed"),
        ('id = "X1"\ntitle = "t"\nseeds = 0\n' + EDIT, "seeds must be a number"),
        ('id = "X1"\ntitle = "t"\nexpected = "I7"\n' + EDIT, "must be a list of checks"),
        ('id = "X1"\ntitle = "t"\nwaits_for = "a"\nequivalent = "b"\n', "or one of"),
        ('id = "X1"\ntitle = "t"\n[[edit]]\nfile = "a"\n', "has exactly file, old, new"),
    ],
)
def test_file_of_a_mutant_that_is_wrong_is_refused_in_words(
    tmp_path: Path, text: str, complaint: str
) -> None:
    (tmp_path / "x1.toml").write_text(text)
    with pytest.raises(MutantInvalid, match=complaint):
        read_mutants(tmp_path)


def test_two_mutants_of_one_name_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.toml").write_text('id = "X1"\ntitle = "t"\n' + EDIT)
    with pytest.raises(MutantInvalid, match="two mutants are named X1"):
        read_mutants(tmp_path)


@pytest.mark.parametrize(
    "file", ["jepsen_like/history.py", "../paxos/core/quorum.py", "paxos/no.py"]
)
def test_edit_of_anything_but_the_product_is_refused(tmp_path: Path, file: str) -> None:
    mutant = Mutant("X1", "t", edits=(Edit(file, "a", "b"),))
    with pytest.raises((MutantInvalid, ValueError)):
        apply(mutant, tmp_path)


def test_edit_whose_text_stands_twice_is_refused(tmp_path: Path) -> None:
    mutant = Mutant("X1", "t", edits=(Edit("paxos/core/quorum.py", "self.voters", "x"),))
    copied(mutant, tmp_path)
    with pytest.raises(MutantInvalid, match=r"stands \d+ times, not once"):
        apply(mutant, tmp_path)


def test_edit_that_makes_no_python_is_refused(tmp_path: Path) -> None:
    mutant = Mutant("X1", "t", edits=(Edit("paxos/core/quorum.py", "class Quorums:", "class"),))
    copied(mutant, tmp_path)
    with pytest.raises(MutantInvalid, match="what it makes is no Python"):
        apply(mutant, tmp_path)


# --- unified diffs, and where a judge runs from --------------------------------------------------

DIFF = """\
diff --git a/paxos/core/quorum.py b/paxos/core/quorum.py
--- a/paxos/core/quorum.py
+++ b/paxos/core/quorum.py
@@ -38,3 +38,3 @@
             )
-        if self.phase1 + self.phase2 <= n:
+        if self.phase1 + self.phase2 < n:
             raise ConfigurationInvalid(
"""


def test_unified_diff_is_a_mutant_with_defaults(tmp_path: Path) -> None:
    (tmp_path / "meets-not.diff").write_text(DIFF)
    (mutant,) = read_mutants(tmp_path)
    assert (mutant.id, mutant.profile, mutant.expected) == ("meets-not", "", ())
    with overlay(mutant) as directory:
        changed = (directory / "paxos/core/quorum.py").read_text()
    assert "self.phase1 + self.phase2 < n" in changed


@pytest.mark.parametrize(
    "diff", ["no diff", DIFF.replace("<= n", "<= m"), DIFF.replace("paxos/core/quorum", "tests/a")]
)
def test_unified_diff_that_does_not_apply_is_refused(diff: str) -> None:
    with pytest.raises(MutantInvalid), overlay(Mutant("X1", "t", diff=diff)):
        pass


def test_overlay_holds_all_packages_and_is_gone_afterwards() -> None:
    with overlay(None) as directory:
        assert (directory / "jepsen_like" / "mutation" / "judge.py").is_file()
    assert not directory.exists()


def test_module_from_outside_the_overlay_is_a_stranger(tmp_path: Path) -> None:
    ours = {quorum.__name__: quorum}
    assert strangers(tmp_path, ours) == ["paxos.core.quorum"]
    assert strangers(packages_root(), ours) == []
