"""``python -m jepsen_like check``: one line of JSON for each file, and how it exits."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from jepsen_like.checkers.linearizability import MODELS
from jepsen_like.cli import program
from jepsen_like.history import write_history
from tests.checkers.hand import Hand
from tests.checkers.record_histories import DIRECTORY, MANIFEST

FIELDS = [
    "file",
    "model",
    "linearizable",
    "operations",
    "unknown_outcome",
    "keys",
    "seconds",
    "reason",
]
CLAIM = {"node": "n1", "registration": 1, "count": 1, "lease": 1}

YES = DIRECTORY / "counter-yes.jsonl"
NO = DIRECTORY / "counter-no-twice.jsonl"


def run_check(*arguments: object) -> tuple[int, list[dict[str, Any]], str]:
    """Return the exit status, the lines of standard output, and standard error."""
    out, errors = io.StringIO(), io.StringIO()
    line = ["jepsen_like", "check", *map(str, arguments)]
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(errors):
        patch.setattr(sys, "argv", line)
        with pytest.raises(SystemExit) as caught:
            program.main()
    status = caught.value.code
    assert isinstance(status, int)
    return status, [json.loads(each) for each in out.getvalue().splitlines()], errors.getvalue()


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    path = tmp_path / "empty.jsonl"
    path.touch()
    return path


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    path = tmp_path / "bad.jsonl"
    path.write_text("{\n", encoding="utf-8")
    return path


def test_check_of_two_files_prints_one_object_each_in_order_and_nothing_else() -> None:
    status, lines, errors = run_check("--model", "counter", YES, NO)
    assert status == 1
    assert errors == ""
    assert [list(line) for line in lines] == [FIELDS, FIELDS]
    assert [line["file"] for line in lines] == [str(YES), str(NO)]
    assert [line["linearizable"] for line in lines] == ["yes", "no"]
    listed = {each["file"]: each for each in json.loads(MANIFEST.read_text(encoding="utf-8"))}
    for line, path in zip(lines, (YES, NO), strict=True):
        counts = {name: line[name] for name in ("operations", "unknown_outcome", "keys")}
        assert counts.items() <= listed[path.name].items()
    assert lines[1]["reason"].startswith("line ")


def test_check_of_task_histories_says_what_it_says_of_others(tmp_path: Path) -> None:
    paths = [tmp_path / "yes.jsonl", tmp_path / "no.jsonl"]
    for path, result in zip(paths, (7, 8), strict=True):
        log = Hand().done(0, "submit", {"tasks": [{"id": "a"}]}, {})
        log.done(0, "claim", CLAIM, {"claims": [["a", 3, 1]]})
        log.done(0, "complete", {"id": "a", "token": 3, "result": 7}, {})
        log.done(1, "show", {"id": "a"}, {"task": ["done", 3, 1, result]})
        write_history(path, log.invoke(2, "tick", {}).history)
    status, lines, errors = run_check("--model", "tasks", *paths)
    assert (status, errors) == (1, "")
    assert [list(line) for line in lines] == [FIELDS, FIELDS]
    assert [line["linearizable"] for line in lines] == ["yes", "no"]
    assert [(line["operations"], line["unknown_outcome"], line["keys"]) for line in lines] == [
        (5, 1, 1),
        (5, 1, 1),
    ]
    assert lines[1]["reason"].startswith("line 8: task 'a': no order explains")


def test_check_exits_with_the_worst_of_all_files(empty: Path, bad: Path) -> None:
    for files, expected in (
        ([YES], 0),
        ([YES, NO], 1),
        ([YES, empty], 2),
        ([empty, NO, YES], 1),
        ([YES, bad, NO], 3),
        ([empty, bad], 3),
    ):
        status, lines, _ = run_check("--model", "counter", *files)
        assert status == expected
        assert len(lines) == len(files)


def test_check_as_a_process_exits_and_prints_as_it_does_inside_one() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "jepsen_like", "check", "--model", "counter", str(NO)],
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=60,
    )
    (line,) = done.stdout.splitlines()
    assert (done.returncode, done.stderr, json.loads(line)["linearizable"]) == (1, "", "no")


def test_check_of_an_empty_history_is_unknown(empty: Path) -> None:
    status, (line,), _ = run_check("--model", "queue", empty)
    assert status == 2
    assert (line["linearizable"], line["operations"], line["keys"]) == ("unknown", 0, 0)
    assert "empty" in line["reason"]


def test_check_of_a_bad_file_says_file_and_line_and_answers_for_the_others(bad: Path) -> None:
    status, lines, errors = run_check("--model", "counter", bad, YES)
    assert status == 3
    assert errors.startswith(f"error: {bad}:1: not JSON")
    assert [line["linearizable"] for line in lines] == ["unknown", "yes"]
    assert lines[0]["reason"].startswith("bad input: ")


def test_check_of_a_missing_file_is_bad_input(tmp_path: Path) -> None:
    status, (line,), errors = run_check("--model", "counter", tmp_path / "none.jsonl")
    assert status == 3
    assert "No such file" in errors
    assert line["linearizable"] == "unknown"


def test_check_by_a_model_without_the_operation_is_bad_input_with_the_line() -> None:
    status, _, errors = run_check("--model", "queue", YES)
    assert status == 3
    assert f"{YES}:1: queue has no operation" in errors


@pytest.mark.parametrize(
    ("model", "f", "value"),
    [
        ("cas-register", "cas", "1"),
        ("counter", "add", '"1"'),
        ("mutex", "release", "null"),
        ("kv-append", "append", "3"),
        ("queue", "enqueue", "null"),
    ],
)
def test_check_of_an_argument_that_the_model_cannot_take_is_bad_input(
    tmp_path: Path, model: str, f: str, value: str
) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text(
        f'{{"process":1,"type":"invoke","f":"{f}","key":null,"value":{value},"time":1}}\n',
        encoding="utf-8",
    )
    status, (line,), errors = run_check("--model", model, path)
    assert status == 3
    assert f"{path}:1: " in errors
    assert line["linearizable"] == "unknown"


def test_check_with_no_time_still_answers_unknown_or_what_it_saw_at_once() -> None:
    status, lines, _ = run_check("--model", "counter", "--time", "0", YES)
    assert status in (0, 2)
    assert len(lines) == 1


def test_check_with_a_format_reads_a_file_of_any_name(tmp_path: Path) -> None:
    path = tmp_path / "history.data"
    path.write_bytes(YES.read_bytes())
    assert run_check("--model", "counter", path)[0] == 3
    assert run_check("--model", "counter", "--format", "jsonl", path)[0] == 0


def test_check_asked_for_help_names_every_model_and_exit_status() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "jepsen_like", "check", "--help"],
        capture_output=True,
        encoding="utf-8",
        check=True,
        timeout=60,
    )
    listed = done.stdout.partition("Models")[2].splitlines()
    assert {line.split()[0] for line in listed if line.strip()} >= MODELS.keys()
    assert "3 beats 1 beats 2" in done.stdout
    assert "--memory" in done.stdout


@pytest.mark.parametrize("arguments", [[], ["--model", "counter"], ["--model", "cat", YES]])
def test_check_without_a_model_or_file_is_bad_input(arguments: list[object]) -> None:
    assert run_check(*arguments)[0] == 3
