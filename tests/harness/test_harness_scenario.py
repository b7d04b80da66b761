"""Scenarios as text: what was saved is what is run again, and nonsense is refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jepsen_like.harness import Scenario, scenarios
from jepsen_like.harness.scenario import (
    LEADER,
    WORDS,
    Ask,
    BadScenario,
    Cut,
    PowerCut,
    Read,
    Wait,
    read_scenario,
    word_of,
)

DRAWN = scenarios(st.binary(), st.binary(), st.binary(), nodes_max=7, clients_max=9)
SMALL = Scenario(
    3,
    2,
    (Ask(1, b"\x00\xff", "goes on"), Read(2, b"", "local"), Cut(LEADER, "bridge"), PowerCut()),
    ("loss",),
    7,
)


@given(DRAWN)
def test_scenario_as_a_token_reads_back_equal(scenario: Scenario) -> None:
    assert read_scenario(scenario.token()) == scenario


@given(DRAWN)
def test_scenario_as_a_document_reads_back_equal(scenario: Scenario) -> None:
    assert read_scenario(json.dumps(scenario.document())) == scenario


def test_scenario_as_a_token_is_one_short_word() -> None:
    token = Scenario(1, 1, (Ask(1, b"add"), Ask(1, b"add"))).token()
    assert len(token) < 70
    assert token.replace("-", "").replace("_", "").isalnum()


@pytest.mark.parametrize("text", [SMALL.token(), json.dumps(SMALL.document())])
def test_scenario_in_a_file_is_read_from_there(tmp_path: Path, text: str) -> None:
    path = tmp_path / "saved"
    path.write_text(text + "\n", encoding="utf-8")
    assert read_scenario(str(path)) == SMALL


def test_token_of_this_format_stays_readable() -> None:
    assert read_scenario("p1-izbUMdSJjtUx0IlWSizOVgLylBJTUpR0lMoTM0uKlWLxiBfkl6cWKSSXlijFxgIA") == (
        Scenario(1, 1, (Ask(1, b"add"), Ask(1, b"add"), PowerCut()))
    )


def test_words_for_steps_name_every_kind_once() -> None:
    assert [word_of(kind.__new__(kind)) for kind in WORDS.values()] == list(WORDS)


def changed(**fields: object) -> str:
    return json.dumps({**Scenario(3, 2, (Wait(10),)).document(), **fields})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("p1-", "cut short"),
        ("p1-!!!", "mistyped"),
        (SMALL.token()[:-4], "cut short"),
        ("no such file", "neither a token"),
        ("{", "no JSON"),
        ("{}", "exactly the fields"),
        (changed(format=2), "format 1"),
        (changed(nodes=0), "nodes is a number from 1 to 7"),
        (changed(nodes=True), "nodes is a number"),
        (changed(clients=10), "clients is a number"),
        (changed(seed=-1), "seed is a number"),
        (changed(weather=["rain"]), "weather is a list of loss"),
        (changed(steps={}), "steps are a list"),
        (changed(steps=[["dance"]]), "no such step"),
        (changed(steps=[[]]), "no such step"),
        (changed(steps=[["wait"]]), "'wait' has milliseconds"),
        (changed(steps=[["wait", 10**6]]), "milliseconds is a number"),
        (changed(steps=[["kill", 4]]), "node is a number from 0 to 3"),
        (changed(steps=[["ask", 3, "x", "waits"]]), "client is a number from 1 to 2"),
        (changed(steps=[["ask", 1, "x", "hopes"]]), "patience is one of waits"),
        (changed(steps=[["ask", 1, "\u20ac", "waits"]]), "one character per byte"),
        (changed(steps=[["ask", 1, 5, "waits"]]), "one character per byte"),
    ],
)
def test_scenario_that_makes_no_sense_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(BadScenario, match=why):
        read_scenario(text)


def test_file_that_holds_no_scenario_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "saved"
    path.write_text("hello", encoding="utf-8")
    with pytest.raises(BadScenario, match="holds neither"):
        read_scenario(str(path))


@given(scenarios(st.just(b"add"), nodes_max=2, clients_max=1, faults=()))
def test_drawn_scenario_keeps_within_what_was_asked_for(scenario: Scenario) -> None:
    assert scenario.nodes <= 2
    assert scenario.clients == 1
    assert scenario.weather == ()
    assert all(isinstance(step, Ask | Wait) for step in scenario.steps)


def test_strategy_that_draws_no_bytes_is_a_type_error() -> None:
    @given(scenarios(st.just("text")))  # type: ignore[arg-type]
    def draw(scenario: Scenario) -> None:
        pass

    with pytest.raises(TypeError, match="commands, queries and watches are bytes"):
        draw()
