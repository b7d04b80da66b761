"""``python -m jepsen_like report``: from a history, or a run, to a page and an exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from jepsen_like import report
from jepsen_like.cli.exits import Exit
from jepsen_like.cli.program import cli
from jepsen_like.history import Entry, write_history
from tests.report.example_runs import good_run

STALE = [
    Entry(0, "invoke", "write", "a", 1, 10),
    Entry(0, "ok", "write", "a", 1, 20),
    Entry(1, "invoke", "read", "a", None, 30),
    Entry(1, "ok", "read", "a", None, 40),
]


def run(*arguments: str) -> tuple[int, Result]:
    """Return the exit status of the command, and what it printed."""
    result = CliRunner().invoke(cli, ["report", *arguments], standalone_mode=False)
    return int(result.return_value or 0), result


def test_report_of_a_history_that_is_wrong_shows_where_and_says_no(tmp_path: Path) -> None:
    history = tmp_path / "history.jsonl"
    write_history(history, STALE)
    status, result = run("--model", "cas-register", str(history))
    page = tmp_path / "history.jsonl.html"
    assert (status, result.output.splitlines()[-1]) == (Exit.NO, f"wrote {page}")
    html = page.read_text(encoding="utf-8")
    assert 'data-verdict="no"' in html
    assert "✖ </span>read → null" in html


def test_report_of_a_run_takes_model_faults_and_doubts_from_its_result(tmp_path: Path) -> None:
    facts = good_run(200)
    write_history(tmp_path / "history.jsonl", facts.history)
    document = {
        "verdict": "unknown",
        "reason": "the run proved too little: only 3 kills",
        "model": "cas-register",
        "seed": 99,
        "faults": {"kill": 3, "pause": 0},
        "not_proved": ["only 3 kills"],
    }
    (tmp_path / "result.json").write_text(json.dumps(document), encoding="utf-8")
    status, _ = run(str(tmp_path))
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert status == Exit.UNKNOWN
    assert "<h1>the run proved too little: only 3 kills</h1>" in html
    assert "<dt>seed</dt><dd>99</dd>" in html
    assert '<th scope="row">pause</th><td class="right">0</td>' in html
    assert "final reads" in html


def test_report_of_a_history_without_a_model_asks_for_it(tmp_path: Path) -> None:
    history = tmp_path / "history.jsonl"
    write_history(history, STALE)
    _, result = run(str(history))
    assert "--model" in str(result.exception)
    assert not (tmp_path / "history.jsonl.html").exists()


def test_report_without_its_libraries_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "available", lambda: "pip install 'multipaxos[test]'")
    history = tmp_path / "history.jsonl"
    write_history(history, STALE)
    _, result = run("--model", "cas-register", str(history))
    assert "pip install 'multipaxos[test]'" in str(result.exception)
