"""The checker of task logs beside a naive twin that tries every order of small histories."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest

from jepsen_like.checkers.tasks import check_tasks
from jepsen_like.history import Entry
from tests.checkers.task_twin import explains, random_log_history

FOUND_SHARE_MIN = 0.9
"""Of what trying every order refutes. What is let pass needs a revision that no change is left for:
the checker does not count changes that nobody asked for."""


@pytest.mark.parametrize("operations", [4, 6, 8])
def test_verdict_on_random_histories_is_that_of_trying_every_order(operations: int) -> None:
    verdicts: Counter[tuple[bool, str]] = Counter()
    for seed in range(700):
        history = random_log_history(Random(f"{operations} {seed}"), operations)
        explained, found = explains(history), check_tasks(history)
        verdicts[explained, found.verdict] += 1
        assert found.verdict == "yes" or not explained, (seed, found)
    refutable = verdicts[False, "no"] + verdicts[False, "yes"]
    assert verdicts[True, "yes"] > 300
    assert refutable > 100
    assert verdicts[False, "no"] >= FOUND_SHARE_MIN * refutable, verdicts


def test_order_of_claims_on_random_queues_is_that_of_sorting_again() -> None:
    verdicts: Counter[bool] = Counter()
    for seed in range(400):
        history, kept = random_queue_history(Random(seed))
        verdicts[kept] += 1
        found = check_tasks(history)
        assert (found.verdict == "yes") is kept, (seed, found)
    assert min(verdicts.values()) > 100, verdicts


def random_queue_history(rng: Random) -> tuple[list[Entry], bool]:
    """Submit and claim for one node; return whether each claim took what stands first."""
    history: list[Entry] = []
    queue: list[tuple[int, int, str]] = []
    revision, kept = 1, True

    def done(f: str, value: Any, answer: Any) -> None:
        history.append(Entry(0, "invoke", f, None, value, 0))
        history.append(Entry(0, "ok", f, None, answer, 0))

    done("register", {"node": "n", "lease": 1}, {"registration": 1})
    careless = rng.random() < 0.5
    for number in range(12):
        revision += 1
        if rng.random() < 0.6:
            id_, priority = f"t{number}", rng.randint(0, 2)
            task = {"id": id_, "priority": priority, "node": "n"}
            done("submit", {"tasks": [task]}, {"created": {id_: revision}})
            queue.append((-priority, revision, id_))
            continue
        claims = []
        for _ in range(min(len(queue), rng.randint(1, 3))):
            taken = rng.choice(queue) if careless and rng.random() < 0.7 else min(queue)
            kept = kept and taken == min(queue)
            queue.remove(taken)
            claims.append([taken[2], revision, 1])
            revision += 1
        asked = {"node": "n", "registration": 1, "count": 3, "lease": 1}
        done("claim", asked, {"claims": claims})
    return history, kept
