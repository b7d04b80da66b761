"""Tables that are shown again: in their place on a terminal, one after the other elsewhere."""

from __future__ import annotations

import io
import re
import sys

import pytest

from paxos.cli.live_table import live_table


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_live_table_off_a_terminal_repeats_only_what_differs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with live_table(("id", "state")) as table:
        table.show([("a", "ready")], "1 task")
        table.show([("a", "ready")], "1 task")
        table.show([("a", "done")], "1 task")
    assert capsys.readouterr().out == (
        "id  state\na   ready\n1 task\n\nid  state\na   done\n1 task\n"
    )


def test_live_table_on_a_terminal_redraws_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with live_table(("id", "state")) as table:
        table.show([("[bold]a", "ready")], "one [of two]")
        table.show([("[bold]a", "done")], "two")
    told = terminal.getvalue()
    # The second time the cursor goes up over the first.
    assert re.search(r"ready.*\x1b\[1A.*done", told, re.DOTALL)
    assert "[bold]a" in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", told)
    assert told.index("one [of two]") < told.index("two")
