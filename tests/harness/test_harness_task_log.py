"""The task log on simulated clusters under drawn faults: it keeps what a state machine promises."""

from __future__ import annotations

from hypothesis import strategies as st

from jepsen_like.harness import cluster_test
from statemachines import task_log_requests as requests
from statemachines.task_log import TaskLog

IDS = st.sampled_from(["a", "b", "c"])
NODES = st.sampled_from(["n1", "n2"])
TOKENS = st.integers(1, 12)
"""Tokens are revisions, and short runs have few: so that many a drawn one is valid."""

LEASES = st.sampled_from([1, 1_000, 5_000_000])


def submit(task_id: str, after: list[str], priority: int) -> bytes:
    depends_on = sorted({name for name in after if name < task_id})
    task = requests.task_spec(task_id, "work", priority=priority, depends_on=depends_on)
    return requests.submit_command([task])


def register(node: str, lease: int) -> bytes:
    return requests.register_command(requests.node_spec(node, "edge", lease=lease))


test_task_log_under_drawn_faults_keeps_every_promise = cluster_test(
    TaskLog,
    commands=st.one_of(
        st.builds(submit, IDS, st.lists(IDS, max_size=1), st.integers(0, 1)),
        st.builds(register, NODES, LEASES),
        st.builds(requests.claim_command, NODES, TOKENS, st.integers(1, 3), LEASES),
        st.builds(requests.complete_command, IDS, TOKENS, st.sampled_from([b"x", b"y"])),
        st.builds(requests.fail_command, IDS, TOKENS, st.just("why"), st.booleans()),
        st.builds(requests.cancel_command, IDS),
        st.builds(requests.retry_command, IDS),
        st.builds(requests.drain_command, NODES, st.booleans()),
        st.just(requests.tick_command()),
    ),
    queries=st.builds(requests.get_query, IDS)
    | st.sampled_from([requests.list_query(), requests.nodes_query(), requests.stats_query()]),
    watches=st.builds(requests.watch_query, st.just("everything"), st.just(""), st.integers(0, 9)),
    examples=30,
)
