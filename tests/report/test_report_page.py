"""What a page says, and what a run's texts may never do to it: act, load, or make it endless."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jepsen_like import report
from jepsen_like.history import Entry
from jepsen_like.report import embedded, libraries
from jepsen_like.report.facts import Arrow, Band, Facts, Phase, Slots, Step
from tests.report.example_runs import failing_run, good_run, simulated_run

EVIL = "</script><script>bad()</script><img src=x onerror=bad()>\"'&$x$ \ud800\x00\u202e{{ 7*7 }}"

ROOT = Path(__file__).resolve().parents[2]


def evil_facts() -> Facts:
    """Return facts whose every text wants to be markup."""
    history = [
        Entry(0, "invoke", EVIL, EVIL, [EVIL], 1_000),
        Entry(0, "ok", EVIL, EVIL, {EVIL: EVIL}, 2_000),
        Entry(1, "invoke", "read", EVIL, None, 1_500),
        Entry(1, "fail", "read", EVIL, None, 4_000, EVIL),
        Entry(2, "invoke", "read", None, None, 1_600),
        Entry(2, "info", "read", None, None, 5_000, EVIL),
    ]
    return Facts(
        title=EVIL,
        verdict="no",
        sentence=EVIL,
        replay=EVIL,
        warnings=[EVIL],
        story=[Step(0.1, EVIL, EVIL, wrong=True), Step(0.05, "n1", EVIL)],
        arrows=[Arrow(0.01, 0.02, EVIL, "n1", EVIL), Arrow(0.01, None, "n1", EVIL, EVIL)],
        history=history,
        impossible={EVIL: 1},
        explained={EVIL: [0]},
        bands=[Band(EVIL, EVIL, 0, 1, 0)],
        phases=[Phase(EVIL, 0, 1)],
        slots=Slots([EVIL], [(1, [EVIL])]),
        effects={EVIL: 0},
        marks={EVIL: 0},
        counts={EVIL: EVIL},
    )


def embedded_data(html: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


@pytest.fixture(scope="module")
def failing_page() -> str:
    return report.render(failing_run())


def test_page_of_a_failing_run_begins_with_the_verdict_and_the_line_to_replay(
    failing_page: str,
) -> None:
    facts = failing_run()
    assert '<html lang="en" data-verdict="no">' in failing_page
    assert f"<h1>{facts.sentence}</h1>" in failing_page
    code = re.search(r'<code id="replay"[^>]*>(.*?)</code>', failing_page)
    assert code is not None
    assert re.sub(r"</?span>", "", code[1]) == facts.replay
    assert failing_page.index("Violation") < code.start()


def test_page_of_a_failing_run_shows_the_impossible_operation_in_its_key(
    failing_page: str,
) -> None:
    window = failing_page[failing_page.index('<article class="window">') :]
    window = window[: window.index("</article>")]
    assert window.count('data-target="yes"') == 1
    assert re.search(
        r'<g class="bar ok this bad" data-target="yes">.*?✖ read → 7', window, re.DOTALL
    )
    assert "The last to write 7 is process" in window
    assert "The longest order that was found" in window


def test_page_of_a_simulated_run_shows_story_messages_and_slots_that_differ() -> None:
    html = report.render(simulated_run())
    assert html.count('class="flight arrived"') == 14
    assert html.count('class="flight arrived talk"') == 5
    assert html.count('class="flight lost"') == 3
    assert html.count('class="flight under-way"') == 1
    assert html.count('class="cross"') == 3
    assert "Nodes decided different values in 1 slot." in html
    assert re.search(r'<li value="11" class="wrong">.*?Violation: .*?write 5', html, re.DOTALL)


def test_counts_of_zero_are_shown_with_a_warning() -> None:
    html = report.render(simulated_run())
    row = re.compile(r'<tr class="zero"><th scope="row">([^<]*)</th>.*?⚠ </span>([^<]*)<')
    assert row.findall(html) == [
        ("clock drift", "no effect"),
        ("took over with a hole", "never reached"),
        ("a snapshot outran the log", "never reached"),
    ]


def test_page_without_facts_leaves_every_part_out() -> None:
    html = report.render(Facts("nothing", "unknown", "Nothing was done."))
    sections = re.findall(r'<section id="(\w+)"', html)
    assert sections == ["legend"]
    assert 'data-verdict="unknown"' in html


def test_figures_that_are_not_given_are_counted_from_the_history() -> None:
    facts = replace(good_run(100), counts={"seed": 1234})
    figures = re.findall(r"<dt>([^<]*)</dt><dd>([^<]*)</dd>", report.render(facts))
    assert figures[0] == ("operations", "100")
    assert figures[-1] == ("seed", "1234")
    assert sum(int(figure) for _, figure in figures[1:4]) == 100


def test_equal_facts_give_equal_pages() -> None:
    assert report.render(failing_run(400)) == report.render(failing_run(400))


def test_written_page_is_the_rendered_one_in_utf_8(tmp_path: Path) -> None:
    facts = evil_facts()
    report.write(facts, tmp_path / "report.html")
    assert (tmp_path / "report.html").read_bytes().decode() == report.render(facts)


def test_history_without_times_gives_a_page_without_times() -> None:
    facts = failing_run(200, keys=1)
    history = [entry._replace(time=0) for entry in facts.history]
    html = report.render(replace(facts, history=history, bands=(), phases=()))
    assert 'id="time"' not in html
    assert 'scope="col" class="right">Took' not in html
    assert "0.000000 s" not in html
    assert not embedded_data(html)["timed"]


# --- nothing from outside ------------------------------------------------------------------------


def test_texts_of_a_run_reach_the_page_only_as_text() -> None:
    html = report.render(evil_facts())
    assert "<script>bad" not in html
    assert "<img" not in html
    assert "onerror=bad()&gt;" in html
    assert "{{ 7*7 }}" in html
    assert "\u202e" not in html
    assert "\x00" not in html
    assert html.count("<script") == 2
    assert html.count("</script>") == 2


def test_data_of_the_script_holds_hostile_texts_whole_and_ends_no_element() -> None:
    data = embedded_data(report.render(evil_facts()))
    assert any("</script><script>bad()" in text for text in data["texts"])


def test_page_loads_nothing_and_may_run_its_own_script_only(failing_page: str) -> None:
    assert not re.search(r"""(?:src|href)\s*=\s*["']?\s*(?:https?:)?//""", failing_page)
    assert not re.search(r"@import|url\(\s*[\"']?(?:https?:)?//", failing_page)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', failing_page)
    script = re.search(r"<script>(.*?)</script>", failing_page, re.DOTALL)
    assert policy is not None
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"script-src &#39;sha256-{digest}&#39;" in policy[1]
    assert policy[1].startswith("default-src &#39;none&#39;;")


# --- sizes ---------------------------------------------------------------------------------------


def test_page_of_lists_that_grow_with_every_read_stays_small() -> None:
    history: list[Entry] = []
    for number in range(1_000):
        history.append(Entry(0, "invoke", "read", None, None, 2 * number))
        history.append(Entry(0, "ok", "read", None, list(range(5 * number)), 2 * number + 1))
    html = report.render(Facts("growing", "yes", "All good.", history=history))
    assert len(html) < 400_000


def test_data_beyond_its_room_keeps_what_surrounds_the_impossible_operation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(embedded, "CHARS_MAX", 20_000)
    facts = failing_run(3_000, keys=2)
    data = embedded_data(report.render(facts))
    worst = data["keys"][0]
    name, operations, *_, bad, skipped, columns = worst
    assert name in facts.impossible
    assert len(columns[0]) < operations
    assert skipped <= bad < skipped + len(columns[0])
    assert len(json.dumps(data)) < 40_000


def test_keys_beyond_the_index_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "KEYS_MAX", 5)
    data = embedded_data(report.render(good_run(500, keys=20)))
    assert len(data["keys"]) == 5
    assert data["left_out"] > 0


# --- where the libraries are missing -------------------------------------------------------------


def test_missing_library_is_named_before_and_when_a_page_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert report.available() is None
    monkeypatch.setattr(libraries, "NEEDED", ("jinja2", "matplotlib_that_nobody_has"))
    said = "a report needs matplotlib_that_nobody_has: pip install 'multipaxos[test]'"
    assert report.available() == said
    with pytest.raises(report.ReportUnavailable, match="multipaxos"):
        report.render(Facts("nothing", "unknown", "Nothing was done."))


def test_command_line_without_a_report_imports_no_library_of_the_page() -> None:
    program = (
        "import sys, jepsen_like.cli.program, jepsen_like.report\n"
        "print([name for name in ('jinja2', 'markupsafe', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
