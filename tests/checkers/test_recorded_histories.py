"""Known histories: the project's own, and those of others where the environment names a folder."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from jepsen_like.checkers.linearizability import MODELS, check
from jepsen_like.formats import read_file
from jepsen_like.history import entry_line
from tests.checkers.record_histories import DIRECTORY, MANIFEST, record

OWN: list[dict[str, Any]] = json.loads(MANIFEST.read_text(encoding="utf-8"))
SHARED = os.environ.get("PAXOS_HISTORIES")
SIZE_MAX = 300_000


@pytest.mark.parametrize("listed", OWN, ids=lambda listed: str(listed["file"]))
def test_own_history_is_judged_as_its_object_was(listed: dict[str, Any]) -> None:
    result = check(read_file(DIRECTORY / listed["file"]).entries, listed["model"])
    assert result.verdict == ("yes" if listed["linearizable"] else "no")
    counts = (result.operations, result.unknown_outcome, result.keys)
    assert counts == (listed["operations"], listed["unknown_outcome"], listed["keys"])


def test_own_histories_are_of_every_model_and_both_verdicts() -> None:
    listed = {(each["model"], each["linearizable"]) for each in OWN}
    assert listed == {(model, verdict) for model in MODELS for verdict in (True, False)}


def test_own_histories_are_those_that_their_program_records() -> None:
    for name, history in record().items():
        text = (DIRECTORY / name).read_text(encoding="utf-8")
        assert text == "".join(map(entry_line, history))


def test_own_histories_are_small_files_all_of_them_listed() -> None:
    files = {path.name: path.stat().st_size for path in DIRECTORY.glob("*.jsonl")}
    assert files.keys() == {each["file"] for each in OWN}
    assert sum(files.values()) < SIZE_MAX


def test_known_histories_of_others_are_judged_as_known() -> None:
    if SHARED is None:
        pytest.skip("PAXOS_HISTORIES names no folder with recorded histories of others")
    listed = json.loads((Path(SHARED) / "histories.json").read_text(encoding="utf-8"))
    verdicts = {True: "yes", False: "no", None: "unknown"}
    for each in listed["histories"]:
        result = check(read_file(Path(SHARED) / each["file"]).entries, each["model"])
        assert (each["file"], result.verdict) == (each["file"], verdicts[each["linearizable"]])
        counts = {"operations": result.operations, "unknown_outcome": result.unknown_outcome}
        assert counts == {name: each.get(name, 0) for name in counts}
