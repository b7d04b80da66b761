"""A run that proved too little says so, and one that proved enough does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jepsen_like.history import NEMESIS, Entry, EntryType
from jepsen_like.live.proof import (
    BESIDE,
    CHURN,
    USUAL,
    Counts,
    Evidence,
    count,
    count_between,
    settled_keys,
    shortfalls,
)
from jepsen_like.workload.catalog import WORKLOADS

REGISTER = WORKLOADS["register"]
MUTEX = WORKLOADS["mutex"]

CALM = Counts(operations=200, ok=195, fail=2, info=3, answered=196)
ENOUGH = Evidence(
    seconds=60.0,
    whole=Counts(operations=5000, ok=4000, fail=900, info=100, answered=4500, observed=1000),
    calm=CALM,
    keys=20,
    keys_settled=20,
    effects={"kill": 10, "pause": 5},
    in_flight={"kill": 9, "pause": 1},
)


def test_run_with_enough_of_everything_misses_nothing() -> None:
    assert shortfalls(ENOUGH) == []


def test_load_beside_another_needs_less_and_not_nothing() -> None:
    few = replace(ENOUGH, whole=replace(ENOUGH.whole, answered=30, observed=6))
    assert shortfalls(few, BESIDE) == []
    assert len(shortfalls(few)) == 2
    assert len(shortfalls(replace(few, whole=Counts()), BESIDE)) == 2


def test_run_without_faults_needs_none() -> None:
    assert shortfalls(replace(ENOUGH, effects={}, in_flight={})) == []


@pytest.mark.parametrize(
    ("evidence", "text"),
    [
        (replace(ENOUGH, whole=Counts()), "only 0 operations were done"),
        (replace(ENOUGH, whole=replace(ENOUGH.whole, answered=299)), "300 are asked"),
        (
            replace(ENOUGH, seconds=1.0, whole=replace(ENOUGH.whole, answered=USUAL.done_min - 1)),
            "100 are asked",
        ),
        (
            replace(ENOUGH, whole=replace(ENOUGH.whole, observed=USUAL.observed_min - 1)),
            "only 19 operations saw a write",
        ),
        (replace(ENOUGH, effects={"kill": 3, "pause": 0}), "the fault pause had no effect"),
        (
            replace(ENOUGH, in_flight={"kill": 3}),
            "the fault pause had no effect while operations were under way",
        ),
        (replace(ENOUGH, calm=None), "no operation began in a calm phase"),
        (replace(ENOUGH, calm=Counts()), "no operation began in a calm phase"),
        (replace(ENOUGH, calm=replace(CALM, answered=180)), "only 180 of 200 operations in calm"),
        (replace(ENOUGH, keys_settled=19), "19 of 20 keys were read at the end"),
        (replace(ENOUGH, keys=0, keys_settled=0), "0 of 0 keys were read at the end"),
    ],
)
def test_run_that_lacks_one_thing_names_it(evidence: Evidence, text: str) -> None:
    missing = shortfalls(evidence)
    assert any(text in each for each in missing), missing


CHURNED = dict.fromkeys(CHURN, 1)
DAMAGED = {
    "damages": 20,
    "inside decided records": 10,
    "mended": 18,
    "lost with a node": 2,
    "replaced": 1,
}
YEARS = replace(
    ENOUGH,
    effects={"churn": 5, "damage": 20},
    in_flight={"churn": 5, "damage": 20},
    details={"churn": CHURNED, "damage": DAMAGED},
)


def _damaged(**told: int) -> Evidence:
    named = {name.replace("_", " "): count for name, count in told.items()}
    return replace(YEARS, details={"churn": CHURNED, "damage": DAMAGED | named})


def test_run_with_enough_churn_and_damage_misses_nothing() -> None:
    assert shortfalls(YEARS) == []
    short = replace(YEARS, seconds=9.0, details={"damage": {"damages": 3, "mended": 3}})
    assert shortfalls(short) == ["only 0 of 3 damages were inside decided records"]


@pytest.mark.parametrize("name", CHURN)
def test_long_run_that_lacks_a_sort_of_change_names_it(name: str) -> None:
    told = {sort: count for sort, count in CHURNED.items() if sort != name}
    lacking = replace(YEARS, details={"churn": told, "damage": DAMAGED})
    assert shortfalls(lacking) == [f"no change was of this sort: {name}"]


@pytest.mark.parametrize(
    ("evidence", "text"),
    [
        (_damaged(damages=19, mended=17), "only 19 places were damaged; 20 are asked"),
        (_damaged(inside_decided_records=9), "only 9 of 20 damages were inside decided records"),
        (_damaged(mended=17), "only 19 of 20 damages were mended, or lost with a node"),
        (replace(YEARS, seconds=30.0, details={}), "only 0 places were damaged; 10 are asked"),
    ],
)
def test_run_whose_damage_proves_too_little_says_so(evidence: Evidence, text: str) -> None:
    assert shortfalls(evidence) == [text]


def test_calm_phase_with_just_over_nine_tenths_done_is_calm_enough() -> None:
    assert shortfalls(replace(ENOUGH, calm=replace(CALM, answered=181))) == []


# --- counting ------------------------------------------------------------------------------------


def entry(
    process: int | str,
    kind: EntryType,
    f: str,
    value: object = None,
    at: float = 0.0,
    key: str = "k",
    error: str | None = None,
) -> Entry:
    return Entry(process, kind, f, key, value, int(at * 1e9), error)


HISTORY = [
    entry(0, "invoke", "read", at=0.1),
    entry(1, "invoke", "write", 1, at=0.2),
    entry(NEMESIS, "info", "kill", "n1", at=0.3),
    entry(0, "ok", "read", at=0.4),
    entry(1, "info", "write", 1, at=1.5, error="no answer"),
    entry(0, "invoke", "cas", [1, 2], at=2.1),
    entry(2, "invoke", "read", at=2.2),
    entry(0, "fail", "cas", [1, 2], at=2.3),
    entry(2, "fail", "read", at=2.4, error="no leader"),
    entry(0, "invoke", "read", at=3.0, key="j"),
    entry(2, "invoke", "read", at=3.1),
    entry(2, "ok", "read", 1, at=3.2),
]


def test_history_counted_whole_has_every_operation_once() -> None:
    assert count(HISTORY, REGISTER) == Counts(
        operations=6, ok=2, fail=2, info=2, answered=3, observed=1
    )


def test_history_counted_between_takes_what_began_there() -> None:
    found = count_between(HISTORY, REGISTER, [(0.0, 1.0), (2.15, 2.5)])
    assert found == Counts(operations=3, ok=1, fail=1, info=1, answered=1, observed=0)


def test_key_read_only_before_the_end_is_not_settled() -> None:
    assert settled_keys(HISTORY, REGISTER, 0.0) == {"k"}
    assert settled_keys(HISTORY, REGISTER, 3.0) == {"k"}
    assert settled_keys(HISTORY, REGISTER, 3.15) == set()


def test_mutex_that_refused_the_last_acquire_is_settled() -> None:
    ends = {"answered: the mutex is held": {"k"}, "no leader": set()}
    for error, keys in ends.items():
        history = [entry(0, "invoke", "acquire"), entry(0, "fail", "acquire", error=error)]
        assert settled_keys(history, MUTEX, 0.0) == keys
