"""Requests to the task log: what is refused before it is sent, with which text; and their bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from paxos.core.state_machine import CommandFailed, Stamp
from statemachines import task_log_answers as answers
from statemachines import task_log_format as form
from statemachines import task_log_requests as requests
from statemachines.task_log import TaskLog
from statemachines.task_log_format import MICRO, TaskLogLimits, TaskSpec
from statemachines.task_log_requests import RequestInvalid, task_spec
from tests.statemachines.task_log_driver import START, Driver, node_spec

TASK = task_spec("a", "k")


def task_fields(**fields: Any) -> bytes:
    """Return a submission whose fields nobody has checked."""
    return bytes(requests._bytes(form.SUBMIT, [TASK._replace(**fields)]))


BAD_TASKS: list[tuple[dict[str, Any], str]] = [
    ({"id": ""}, "the task id is empty"),
    ({"id": "x" * 129}, "the task id is too long: the limit is 128 characters"),
    ({"id": "a b"}, "the task id may hold only printable ASCII characters without spaces"),
    ({"id": "ä"}, "the task id may hold only printable ASCII characters without spaces"),
    ({"kind": ""}, "the kind is empty"),
    ({"payload": bytes(65_537)}, "the payload is too long: 65537 bytes, the limit is 65536"),
    ({"priority": 101}, "the priority is not from -100 to 100"),
    ({"not_before": -1}, f"not_before is not from 0 to {2**63 - 1}"),
    ({"deadline": -1}, f"the deadline is not from 0 to {2**63 - 1}"),
    ({"deadline": 5, "not_before": 5}, "task a must not begin before its deadline has passed"),
    ({"attempts": 0}, "the number of attempts is not from 1 to 100"),
    ({"attempts": 101}, "the number of attempts is not from 1 to 100"),
    ({"backoff": -1}, "the backoff in microseconds is not from 0 to 3600000000"),
    ({"depends_on": ("a",)}, "task a depends on itself"),
    ({"depends_on": ("b", "c", "b")}, "task a names a dependency twice: b"),
    ({"depends_on": tuple(map(str, range(65)))}, "too many dependencies: the limit is 64"),
    ({"labels": tuple((f"{n:02}", "x") for n in range(33))}, "too many labels: the limit is 32"),
    ({"labels": (("x", ""),)}, "the value of a label is empty"),
    ({"demand": 0}, f"the demand is not from 1 to {10**15}"),
    ({"size": -1}, f"the size is not from 0 to {10**15}"),
    ({"data_node": "a b"}, "the node that holds the data may hold only printable ASCII characters"),
    ({"data_bytes": -1}, f"the number of bytes to transfer is not from 0 to {10**15}"),
    ({"kind": 7}, "malformed: the kind is not text"),
    ({"payload": "text"}, "malformed: the payload is not bytes"),
    ({"priority": True}, "malformed: the priority is not a whole number"),
    ({"size": 1.0}, "malformed: the size is not a whole number"),
    ({"node_kind": 3}, "malformed: unknown kind of node"),
    ({"policy": 4}, "malformed: unknown policy"),
    ({"labels": (("b", "1"), ("a", "2"))}, "malformed: the labels are not in ascending order"),
    ({"depends_on": None}, "malformed: the dependencies are not a list"),
]


@pytest.mark.parametrize(("fields", "reason"), BAD_TASKS, ids=[each for _, each in BAD_TASKS])
def test_task_that_is_not_allowed_is_refused_by_the_log_and_by_the_builder(
    fields: dict[str, Any], reason: str
) -> None:
    log = TaskLog()
    with pytest.raises(CommandFailed) as by_log:
        log.apply(task_fields(**fields), Stamp(1, 0, START))
    assert str(by_log.value).startswith(reason)
    with pytest.raises(RequestInvalid) as by_builder:
        requests.submit_command([TASK._replace(**fields)])
    assert str(by_builder.value) == str(by_log.value)
    assert list(log.snapshot()) == list(TaskLog().snapshot())


def chain(*pairs: str) -> list[TaskSpec]:
    """Return tasks from texts such as "a<b c": a depends on b and c."""
    return [
        task_spec(name, "k", depends_on=others.split())
        for name, _, others in (pair.partition("<") for pair in pairs)
    ]


@pytest.mark.parametrize(
    ("tasks", "reason"),
    [
        ([], "the submission holds no task"),
        (chain("a", "b", "a"), "the submission holds a task twice: a"),
        (chain("a<b", "b"), "task a depends on b, which comes later in the submission"),
        (chain("a<b", "b<a"), "the dependencies form a cycle: a <- b <- a"),
        (chain("a<c", "b<a", "c<b"), "the dependencies form a cycle: a <- b <- c <- a"),
        (chain("a<c d", "b<a", "c", "d<b"), "task a depends on c, which comes later"),
        (
            [task_spec(str(number), "k") for number in range(65)],
            "too many tasks in one submission: the limit is 64",
        ),
        (
            chain(*(f"t{number}<{' '.join(map(str, range(64)))}" for number in range(17))),
            "too many dependencies in one submission: the limit is 1024",
        ),
    ],
)
def test_submission_whose_tasks_do_not_go_together_is_refused(
    tasks: list[TaskSpec], reason: str
) -> None:
    with pytest.raises(RequestInvalid) as by_builder:
        requests.submit_command(tasks)
    assert str(by_builder.value).startswith(reason)
    with pytest.raises(CommandFailed) as by_log:
        TaskLog().apply(requests._bytes(form.SUBMIT, tasks), Stamp(1, 0, START))
    assert str(by_log.value) == str(by_builder.value)


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (lambda: node_spec("n", capacity=0), "the capacity is not from 1"),
        (lambda: node_spec("n", speed=0), "the speed is not from 1"),
        (lambda: node_spec("n", bandwidth=0), "the bandwidth is not from 1"),
        (lambda: node_spec("n", price=-1), "the price is not from 0"),
        (lambda: node_spec("n", energy=(0, 0)), "malformed: the energy curve is not"),
        (lambda: node_spec("n", lease=0), "the lease in microseconds is not from 1"),
        (lambda: node_spec("n", kind="any"), "malformed: a node is neither cloud nor edge"),
        (lambda: node_spec("n", kind="moon"), "unknown kind of node 'moon': one of any, cloud"),
        (lambda: task_spec("a", "k", policy="best"), "unknown policy 'best': one of balanced"),  # type: ignore[arg-type]
        (lambda: requests.claim_command("n", 1, 0, 1), "the number of tasks is not from 1 to 64"),
        (lambda: requests.claim_command("n", 1, 1, -5), "the lease in microseconds is not from 1"),
        (lambda: requests.claim_command("n", 0, 1, 1), "the registration is not from 1"),
        (lambda: requests.extend_command("n", 1, [("a", 1)] * 65, 1), "too many claims"),
        (lambda: requests.progress_command("a", 1, bytes(1025)), "the progress is too long"),
        (lambda: requests.complete_command("a", 1, bytes(65_537)), "the result is too long"),
        (lambda: requests.fail_command("a", 1, "x" * 1025), "the reason is too long"),
        (lambda: requests.fail_command("a", 1, "\ud800"), "malformed: the reason is not text"),
        (lambda: requests.replan_command(0, 257), "the limit is not from 1 to 256"),
        (lambda: requests.list_query(state="lost"), "unknown state 'lost': one of blocked"),
        (lambda: requests.watch_query("task", "", 0), "the task id is empty"),
    ],
)
def test_request_that_is_not_allowed_is_refused_before_it_is_sent(
    build: Callable[[], object], reason: str
) -> None:
    with pytest.raises(RequestInvalid) as refused:
        build()
    assert str(refused.value).startswith(reason)


def test_limits_of_a_log_are_those_that_it_was_given() -> None:
    limits = TaskLogLimits(payload_bytes_max=3, claim_tasks_max=1)
    log = Driver(limits)
    with pytest.raises(CommandFailed, match="the payload is too long: 4 bytes, the limit is 3"):
        log.task("a", payload=b"1234")
    with pytest.raises(CommandFailed, match="the number of tasks is not from 1 to 1"):
        log.claim("n1", log.node("n1"), 2)


@pytest.mark.parametrize(
    "failure",
    [
        answers.TaskUnknown("a"),
        answers.TokenInvalid(7, "task a is done, with token 9"),
        answers.RegistrationInvalid("n1", 3, "its lease has lapsed"),
        answers.ChangesCompacted(5, 60),
    ],
    ids=lambda each: type(each).__name__,
)
def test_failure_by_its_text_is_read_as_its_type_with_all_that_it_says(
    failure: CommandFailed,
) -> None:
    found = answers.decode_failure(CommandFailed(str(failure)))
    assert type(found) is type(failure)
    assert vars(found) == vars(failure)


def test_failure_of_another_text_stays_as_it_is() -> None:
    failure = CommandFailed("task a exists with other content")
    assert answers.decode_failure(failure) is failure


# --- bytes that must never change -----------------------------------------------------------------

GOLDEN = {
    "submit": "93010191dc0010a161a16bc402696e010209030491a162029192a3677075a1310506a16e0702",
    "register": "9401029aa16e01029192a178a17903049305060708090103",
    "report": "950103a16e0102",
    "leave": "940104a16e01",
    "drain": "940105a16ec3",
    "claim": "960106a16e010203",
    "extend": "960107a16e019192a1610203",
    "progress": "950108a16101c40170",
    "complete": "950109a16101c40172",
    "fail": "96010aa16101a26e6fc2",
    "cancel": "93010ba161",
    "retry": "93010ca161",
    "replan": "94010d0102",
    "tick": "92010e",
    "retain": "94010f0102",
    "get": "930120a161",
    "list": "97012105a16ba16e0102",
    "nodes": "920122",
    "stats": "920123",
    "explain": "930124a161",
    "watch": "95012501a16101",
    "work": "95012503a16e01",
}


def test_bytes_of_format_one_are_what_they_were() -> None:
    spec = task_spec(
        "a",
        "k",
        b"in",
        priority=1,
        not_before=2,
        deadline=9,
        attempts=3,
        backoff=4,
        depends_on=["b"],
        node_kind="edge",
        labels={"gpu": "1"},
        demand=5,
        size=6,
        data_node="n",
        data_bytes=7,
        policy="latency",
    )
    node = requests.node_spec(
        "n",
        "cloud",
        lease=1,
        capacity=2,
        labels={"x": "y"},
        price=3,
        speed=4,
        energy=(5, 6, 7),
        delay=8,
        bandwidth=9,
    )
    found = {
        "submit": requests.submit_command([spec]),
        "register": requests.register_command(node, 3),
        "report": requests.report_command("n", 1, 2),
        "leave": requests.leave_command("n", 1),
        "drain": requests.drain_command("n"),
        "claim": requests.claim_command("n", 1, 2, 3),
        "extend": requests.extend_command("n", 1, [("a", 2)], 3),
        "progress": requests.progress_command("a", 1, b"p"),
        "complete": requests.complete_command("a", 1, b"r"),
        "fail": requests.fail_command("a", 1, "no", retry=False),
        "cancel": requests.cancel_command("a"),
        "retry": requests.retry_command("a"),
        "replan": requests.replan_command(1, 2),
        "tick": requests.tick_command(),
        "retain": requests.retain_command(1, 2),
        "get": requests.get_query("a"),
        "list": requests.list_query("done", "k", "n", 1, 2),
        "nodes": requests.nodes_query(),
        "stats": requests.stats_query(),
        "explain": requests.explain_query("a"),
        "watch": requests.watch_query("task", "a", 1),
        "work": requests.work_query("n", 1),
    }
    assert {name: data.hex() for name, data in found.items()} == GOLDEN


def test_snapshot_of_format_one_is_what_it_was() -> None:
    log = Driver()
    registration = log.node("n1", lease=60 * MICRO, labels={"x": "y"}, energy=(1, 2, 3))
    log.task("a", payload=b"in", deadline=START + 9, data_node="n1")
    log.task("b", depends_on=["a"])
    log.task("c", not_before=START + 5)
    log.complete("a", log.token("n1", registration), b"out")
    log.fail("b", log.token("n1", registration), "broken")
    (chunk,) = log.log.snapshot()
    assert chunk.hex() == SNAPSHOT
    TaskLog().restore([bytes.fromhex(SNAPSHOT)])


SNAPSHOT = (
    "c2057c089aa87461736b5f6c6f67010900ce000186a000cf00060a24181e4000c00109969aa26e31"
    "02ce009896809192a178a17900ce000f42409301020300ce07735940ce039387000101c2cf00060a"
    "241bb1c700009701cf00060a24181e400002a26e310201c29b02cf00060a24181e400001a161a477"
    "6f726b03a26e310000a0c4009b03cf00060a24181e400001a162a4776f726b01a00000a0c4009b04"
    "cf00060a24181e400001a163a4776f726b02a00000a0c4009b05cf00060a24181e400001a161a477"
    "6f726b04a26e310105a0c4009b06cf00060a24181e400001a161a4776f726b05a26e310105a0c400"
    "9b07cf00060a24181e400001a162a4776f726b03a26e310000a0c4009b08cf00060a24181e400001"
    "a162a4776f726b04a26e310108a0c4009b09cf00060a24181e400001a162a4776f726b02a00108a6"
    "62726f6b656ec400dc0010dc0010a161a4776f726bc402696e0000cf00060a24181e400903ce000f"
    "4240900090ce000f4240ce000f4240a26e3100000206cf00060a24181e4000cf00060a24181e4000"
    "05a26e310001050090a0c4036f7574c40097cf00060a24181e40000000ce000f42400003ce000f42"
    "40dc0010dc0010a162a4776f726bc40000000003ce000f424091a1610090ce000f4240ce000f4240"
    "a000000309cf00060a24181e4000cf00060a24181e400002a0000108cf00060a24182d824090a662"
    "726f6b656ec0c40090dc0010dc0010a163a4776f726bc40000cf00060a24181e40050003ce000f42"
    "40900090ce000f4240ce000f4240a000000404cf00060a24181e4000cf00060a24181e400002a000"
    "0000cf00060a24181e400590a0c0c400900e"
)
