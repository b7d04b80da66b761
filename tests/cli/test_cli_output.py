"""The spelling of results, and of the demo's story."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paxos.cli.exits import CommandError, Exit
from paxos.cli.narrator import BARS, Narrator, sparkline
from paxos.cli.output import bytes_text, print_json, print_table, value_fields, value_text


def test_json_is_one_object_on_one_line_and_keeps_text_as_it_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_json({"key": "Zürich/cam", "value": "a\nb"})
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    assert "Zürich" in printed
    assert json.loads(printed) == {"key": "Zürich/cam", "value": "a\nb"}


def test_value_that_is_text_is_a_value() -> None:
    assert value_fields("25 °C".encode()) == {"value": "25 °C"}


def test_value_that_is_not_text_is_base64() -> None:
    assert value_fields(b"\xff\x00") == {"value_base64": "/wA="}
    assert value_text(b"\xff\x00") == "(2 bytes, not text)"


def test_value_that_is_gone_is_null() -> None:
    assert value_fields(None) == {"value": None}
    assert value_text(None) == "(deleted)"


def test_table_off_a_terminal_is_aligned_plain_text(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("node", "role"), [("1", "leader"), ("12", "follower")], "not shown")
    assert capsys.readouterr().out == "node  role\n1     leader\n12    follower\n"


@pytest.mark.parametrize(
    ("count", "text"),
    [(None, "-"), (0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (3 * 2**40, "3072.0 GiB")],
)
def test_bytes_are_told_in_the_unit_that_fits(count: int | None, text: str) -> None:
    assert bytes_text(count) == text


def test_error_shows_what_to_do_on_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    CommandError(Exit.USAGE, "the port is in use", "Stop the other node.").show()
    assert capsys.readouterr().err == "paxos: the port is in use\n       Stop the other node.\n"


def test_json_in_a_locale_without_utf_8_is_utf_8_all_the_same() -> None:
    program = "from paxos.cli.output import print_json; print_json({'key': 'Z\\u00fcrich'})"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=True,
    )
    assert done.stdout == '{"key":"Zürich"}\n'.encode()


def test_bars_on_an_output_without_utf_8_are_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert Narrator().draw([0, 1, 8]) == " .#"
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))
    assert Narrator().draw([0, 1, 8]) == " ▁█"


def test_story_on_a_terminal_says_the_same_as_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        encoding = "utf-8"

        def isatty(self) -> bool:
            return True

    told = Terminal()
    monkeypatch.setattr(sys, "stdout", told)
    monkeypatch.setenv("TERM", "xterm")
    narrator = Narrator()
    with narrator.chapter("It begins"):
        narrator.fact("[bold] is no markup here")
        narrator.proved("it holds")
        narrator.failed("it does not")
    narrator.end("The end", good=True)
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", told.getvalue())
    for line in ("1. It begins", "[bold] is no markup here", "it holds", "it does not", "The end"):
        assert line in text


@given(st.lists(st.integers(min_value=0, max_value=10_000), max_size=40))
def test_sparkline_is_blank_exactly_where_nothing_happened(counts: list[int]) -> None:
    drawn = sparkline(counts)
    assert [bar == BARS[0] for bar in drawn] == [count == 0 for count in counts]
    if any(counts):
        assert drawn[counts.index(max(counts))] == BARS[-1]
