"""``paxos task`` against real replicas and a real worker: what is printed, and how it ends."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.cli.replicas import Replicas, objects, processes_that_name, wait_until
from tests.cli.workers import Worker

pytestmark = [pytest.mark.processes, pytest.mark.usefixtures("edge_1")]

NUMBERS = count(1)


@pytest.fixture
def name() -> str:
    """An id that no other test uses."""
    return f"task-{next(NUMBERS)}"


def submit(cluster: Replicas, name: str, script: str, *options: str) -> dict[str, Any]:
    """Submit a task that nobody but edge-1 takes, and return what was told of it."""
    arguments = ["--kind", "script", "--on", "edge", "--label", "gpu=yes", *options]
    done = cluster("task", "submit", name, script, *arguments, "--json")
    assert done.exit_code == 0, done.output
    return objects(done)[0]


def shown(cluster: Replicas, name: str) -> dict[str, Any]:
    return objects(cluster("task", "show", name, "--json"))[0]


def wait_state(cluster: Replicas, name: str, *states: str) -> dict[str, Any]:
    wait_until(lambda: shown(cluster, name)["state"] in states, f"{name} is {states}")
    return shown(cluster, name)


# --- submit --------------------------------------------------------------------------------------


def test_task_that_is_submitted_and_waited_for_prints_its_result(
    task_cluster: Replicas, name: str
) -> None:
    done = task_cluster("task", "submit", name, "echo hello", "--kind", "script", "--wait")
    assert done.exit_code == 0, done.output
    told, result = done.stdout.splitlines()
    assert told.startswith(f"submitted {name} (revision ")
    assert result == "hello"


def test_task_submitted_twice_is_one_task_and_other_content_is_refused(
    task_cluster: Replicas, name: str
) -> None:
    first = submit(task_cluster, name, "echo once")
    assert first.keys() == {"outcome", "revision", "slot", "id", "created"}
    again = submit(task_cluster, name, "echo once")
    assert again["created"] == first["created"]
    other = task_cluster("task", "submit", name, "echo other", "--kind", "script", "--json")
    assert other.exit_code == 1
    (told,) = objects(other)
    assert told["outcome"] == "refused"
    assert "other content" in told["reason"]
    assert shown(task_cluster, name)["payload"] == "echo once"


def test_tasks_of_a_batch_run_in_order_and_hand_on_their_results(
    task_cluster: Replicas, name: str, tmp_path: Path
) -> None:
    first, second = f"{name}-a", f"{name}-b"
    script = 'cat "$PAXOS_TASK_INPUTS/1"; ls "$PAXOS_TASK_INPUTS"'
    document = tmp_path / "tasks.jsonl"
    document.write_text(
        json.dumps({"id": first, "kind": "script", "payload": "printf '\\377'"})
        + "\n"
        + json.dumps({"id": second, "kind": "script", "payload": script, "after": [first]})
    )
    done = task_cluster("task", "submit", "--batch", str(document), "--wait", "--json")
    assert done.exit_code == 0, done.output
    told, *finished = objects(done)
    assert (told["outcome"], told["tasks"]) == ("done", 2)
    assert [task["id"] for task in finished] == [first, second]
    assert base64.b64decode(finished[0]["result_base64"]) == b"\xff"
    assert base64.b64decode(finished[1]["result_base64"]) == b"\xff1\n"
    again = task_cluster("task", "submit", "--batch", str(document), "--wait")
    assert again.stdout.splitlines()[0].startswith("submitted 2 tasks (revision ")
    assert again.stdout.splitlines()[1:] == [
        f"{first}: (1 bytes, not text)",
        f"{second}: (3 bytes, not text)",
    ]


def test_batch_beyond_one_submission_is_taken_whole_and_can_be_repeated(
    task_cluster: Replicas, name: str
) -> None:
    tasks = [{"id": f"{name}-{number}", "kind": name, "payload": "true"} for number in range(150)]
    document = json.dumps(tasks).encode()
    for _ in range(2):
        done = task_cluster("task", "submit", "--batch", "-", stdin=document)
        assert done.exit_code == 0, done.output
    listed = task_cluster("task", "list", "--kind", name, "--ids").stdout.split()
    assert listed == [task["id"] for task in tasks]


def test_task_with_every_option_is_submitted_as_it_was_asked_for(
    task_cluster: Replicas, name: str, tmp_path: Path
) -> None:
    (tmp_path / "payload").write_bytes(b"\xff\x00")
    options = "--priority -7 --not-before +1h --deadline 2126-11-21T18:00:00Z --attempts 9"
    options += " --backoff 1.5s --on edge --label gpu=yes --demand 0.1 --size 2.25"
    options += " --data-on edge-1 --data-size 10MB --policy energy --after"
    before = f"{name}-before"
    submit(task_cluster, before, "true")
    file = ("--file", str(tmp_path / "payload"))
    done = task_cluster("task", "submit", name, "--kind", "k", *options.split(), before, *file)
    assert done.exit_code == 0, done.output
    task = shown(task_cluster, name)
    assert {key: task[key] for key in ("kind", "priority", "attempts", "backoff_s", "policy")} == {
        "kind": "k",
        "priority": -7,
        "attempts": 9,
        "backoff_s": 1.5,
        "policy": "energy",
    }
    assert (task["demand"], task["size"]) == (0.1, 2.25)
    assert (task["data_on"], task["data_size"]) == ("edge-1", 10_000_000)
    assert (task["on"], task["labels"]) == ("edge", {"gpu": "yes"})
    assert (task["after"], task["deadline"]) == ([before], "2126-11-21T18:00:00Z")
    assert task["payload_base64"] == "/wA="
    assert task["not_before"] > task["submitted"]
    assert task["state"] in ("blocked", "waiting")
    assert task_cluster("task", "cancel", name).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "stdin", "culprit"),
    [
        (["submit"], b"", "an ID and --kind"),
        (["submit", "t"], b"", "an ID and --kind"),
        (["submit", "t", "p", "--kind", "k", "--file", "-"], b"", "not both"),
        (["submit", "t", "--batch", "-"], b"", "--batch takes"),
        (["submit", "a b", "--kind", "k"], b"", "without spaces"),
        (["submit", "t", "--kind", "k", "--file", "-"], b"x" * 65_537, "the limit is 65536"),
        (["submit", "t", "--kind", "k", "--deadline", "soon"], b"", "'soon' is not a time"),
        (["submit", "t", "--kind", "k", "--backoff", "-1s"], b"", "'-1s' is not a duration"),
        (["submit", "t", "--kind", "k", "--backoff", "2h"], b"", "backoff"),
        (["submit", "t", "--kind", "k", "--size", "0.1234567"], b"", "finer than a millionth"),
        (["submit", "t", "--kind", "k", "--data-size", "5 stones"], b"", "is not a size"),
        (["submit", "t", "--kind", "k", "--label", "gpu"], b"", "is not a label"),
        (["submit", "t", "--kind", "k", "--label", "a=b", "--label", "a=c"], b"", "given twice"),
        (["submit", "t", "--kind", "k", "--attempts", "0"], b"", "--attempts"),
        (["submit", "t", "--kind", "k", "--after", "t"], b"", "task t depends on itself"),
        (["submit", "--batch", "-"], b"{", "neither a JSON list nor"),
        (["submit", "--batch", "-"], b'{"id": "a"}', 'task 1: "kind" is missing'),
        (
            ["submit", "--batch", "-"],
            b'[{"id":"a","kind":"k","after":["b"]},{"id":"b","kind":"k","after":["a"]}]',
            "the dependencies form a cycle: a <- b <- a",
        ),
        (["list", "--ids", "--json"], b"", "--ids"),
        (["list", "--live", "--json"], b"", "paxos task watch --json"),
        (["list", "--refreshes", "2"], b"", "--live"),
        (["show", "t", "--raw", "--json"], b"", "not both"),
        (["watch", "t", "--node", "n"], b"", "not both"),
        (["cancel"], b"", "ID"),
    ],
)
def test_task_with_bad_input_exits_2_and_names_it(
    task_cluster: Replicas, arguments: list[str], stdin: bytes, culprit: str
) -> None:
    refused = task_cluster("task", *arguments, stdin=stdin)
    assert refused.exit_code == 2, refused.output
    assert culprit in refused.stderr
    assert "Traceback" not in refused.output


def test_batch_with_a_mistake_behind_the_first_64_submits_nothing(
    task_cluster: Replicas, name: str
) -> None:
    tasks: list[dict[str, Any]] = [
        {"id": f"{name}-{number}", "kind": name} for number in range(130)
    ]

    def refused(changed: Sequence[dict[str, Any]], why: str) -> None:
        done = task_cluster("task", "submit", "--batch", "-", stdin=json.dumps(changed).encode())
        assert done.exit_code == 2
        assert why in done.stderr
        assert task_cluster("task", "list", "--kind", name, "--ids").stdout == ""

    refused([*tasks, tasks[0]], f"task {name}-0 is there twice")
    early = [tasks[0] | {"after": [f"{name}-129"]}, *tasks[1:]]
    refused(early, f"task {name}-0 must stand behind {name}-129")
    refused([*tasks[:-1], tasks[-1] | {"attempts": 0}], "task 130: ")


def test_task_that_no_node_could_ever_run_is_refused_with_the_reason(
    task_cluster: Replicas, name: str
) -> None:
    for options, why in (("--on cloud --label gpu=yes", "cloud"), ("--demand 1000", "capacity")):
        arguments = ["--kind", "k", *options.split(), "--json"]
        refused = task_cluster("task", "submit", name, *arguments)
        assert refused.exit_code == 1, refused.output
        assert objects(refused)[0]["outcome"] == "refused"
        assert "edge-1" in refused.stderr
        assert why in refused.stderr
    assert task_cluster("task", "show", name).exit_code == 1


def test_task_with_a_deadline_in_the_past_is_refused(task_cluster: Replicas, name: str) -> None:
    past = ["--kind", "k", "--deadline", "2020-01-01T00:00:00Z"]
    refused = task_cluster("task", "submit", name, *past)
    assert refused.exit_code == 1
    assert "deadline" in refused.stderr


# --- what becomes of tasks ------------------------------------------------------------------------


def test_task_that_fails_for_good_is_dead_until_it_is_begun_anew(
    task_cluster: Replicas, name: str, tmp_path: Path
) -> None:
    script = f"test -e {tmp_path}/mended && echo fine || {{ echo 'broken' >&2; exit 65; }}"
    failed = task_cluster("task", "submit", name, script, "--kind", "script", "--wait")
    assert failed.exit_code == 1
    assert failed.stderr == f"paxos: {name} is dead: exit status 65: broken\n"
    assert shown(task_cluster, name)["attempt"] == 1
    dead = task_cluster("task", "list", "--state", "dead", "--kind", "script", "--ids").stdout
    assert name in dead.split()
    (tmp_path / "mended").touch()
    begun = task_cluster("task", "retry", "-", stdin=f"{name}\n".encode())
    assert begun.exit_code == 0, begun.output
    assert begun.stdout.startswith(f"begun anew: {name} (revision ")
    assert wait_state(task_cluster, name, "done")["result"] == "fine\n"
    refused = task_cluster("task", "retry", name, "--json")
    assert refused.exit_code == 1
    assert (objects(refused)[0]["outcome"], objects(refused)[0]["id"]) == ("refused", name)


def test_task_that_fails_now_and_then_is_tried_again(
    task_cluster: Replicas, name: str, tmp_path: Path
) -> None:
    script = f"echo $PAXOS_TASK_ATTEMPT >> {tmp_path}/tries; test $PAXOS_TASK_ATTEMPT = 3"
    submit(task_cluster, name, script, "--backoff", "1ms")
    task = wait_state(task_cluster, name, "done", "dead")
    assert (task["state"], task["attempt"]) == ("done", 3)
    assert (tmp_path / "tries").read_text() == "1\n2\n3\n"


def test_task_that_is_cancelled_is_ended_where_it_runs(
    task_cluster: Replicas, name: str, tmp_path: Path
) -> None:
    mark = str(tmp_path)
    submit(task_cluster, name, f"sh -c 'sleep 600; : {mark}'")
    wait_until(lambda: processes_that_name(mark) != [], "its program runs")
    done = task_cluster("task", "cancel", name, "no-such-task", "--json")
    assert done.exit_code == 1
    assert [(told["id"], told["outcome"]) for told in objects(done)] == [
        (name, "done"),
        ("no-such-task", "refused"),
    ]
    assert "no-such-task" in done.stderr
    assert shown(task_cluster, name)["state"] == "cancelled"
    wait_until(lambda: processes_that_name(mark) == [], "its program is ended")


# --- reads ---------------------------------------------------------------------------------------


def test_task_list_filters_and_cuts_and_counts(task_cluster: Replicas, name: str) -> None:
    for number in range(3):
        submit(task_cluster, f"{name}-{number}", "true", "--kind", name)
        wait_state(task_cluster, f"{name}-{number}", "done")
    listed = objects(task_cluster("task", "list", "--kind", name, "--json"))
    assert [task["id"] for task in listed] == [f"{name}-{number}" for number in range(3)]
    assert listed[0]["payload_bytes"] == 4
    assert listed[0]["slot"] > 0
    some = task_cluster("task", "list", "--kind", name, "--limit", "2", "--ids")
    assert some.stdout.split() == [f"{name}-0", f"{name}-1"]
    mine = ("--kind", name, "--node", "edge-1", "--state", "done")
    table = task_cluster("task", "list", *mine, "--level", "local").stdout.splitlines()
    assert table[0].split() == ["id", "kind", "state", "node", "attempt", "priority", "age", "note"]
    assert table[1].split()[:6] == [f"{name}-0", name, "done", "edge-1", "1/3", "0"]
    assert len(table) == 5
    assert "live node" in table[-1]
    assert task_cluster("task", "list", "--kind", name, "--state", "dead", "--ids").stdout == ""


def test_task_list_live_shows_each_change_below_the_one_before(
    task_cluster: Replicas, name: str
) -> None:
    submit(task_cluster, name, "sleep 600", "--kind", name)
    wait_state(task_cluster, name, "claimed")
    shown_twice = task_cluster("task", "list", "--kind", name, "--live", "--refreshes", "2")
    assert shown_twice.exit_code == 0, shown_twice.output
    rows = [line for line in shown_twice.stdout.splitlines() if line.startswith(name)]
    assert len(rows) == 2
    assert all("claimed" in row and "edge-1" in row for row in rows)
    assert task_cluster("task", "cancel", name).exit_code == 0


def test_task_show_for_people_ends_with_the_result(task_cluster: Replicas, name: str) -> None:
    submit(task_cluster, name, "echo hello")
    wait_state(task_cluster, name, "done")
    lines = task_cluster("task", "show", name).stdout.splitlines()
    assert lines[0] == f"task       {name}"
    assert lines[-2:] == ["payload    echo hello", "result     hello"]
    assert task_cluster("task", "show", name, "--raw").stdout_bytes == b"hello\n"


def test_task_show_of_what_is_not_there_exits_1_and_names_it(
    task_cluster: Replicas, name: str
) -> None:
    absent = task_cluster("task", "show", name)
    assert absent.exit_code == 1
    assert absent.stderr == f"paxos: there is no task {name}\n"
    submit(task_cluster, name, "exit 65")
    wait_state(task_cluster, name, "dead")
    raw = task_cluster("task", "show", name, "--raw")
    assert (raw.exit_code, raw.stdout) == (1, "")
    assert f"{name} is dead: it has no result" in raw.stderr


def test_task_explain_says_where_and_for_what_cost(task_cluster: Replicas, name: str) -> None:
    submit(task_cluster, name, "sleep 600", "--policy", "latency", "--size", "2")
    wait_state(task_cluster, name, "claimed")
    (told,) = objects(task_cluster("task", "explain", name, "--json"))
    assert (told["node"], told["chosen"], told["policy"]) == ("edge-1", "edge-1", "latency")
    assert told["placed"].keys() >= {"time", "cost", "wait_s", "transfer_s", "compute_s", "price"}
    assert told["placed"]["compute_s"] == 2
    (only,) = [each for each in told["candidates"] if each["node"] == "edge-1"]
    assert only["cost"] == only["wait_s"] + only["transfer_s"] + only["compute_s"]
    text = task_cluster("task", "explain", name).stdout.splitlines()
    assert text[0] == (
        f"{name} is claimed on edge-1, by policy latency; it would go to edge-1 again"
    )
    assert text[1].startswith("placed there at ")
    assert text[2].split()[:5] == ["node", "cost", "wait", "transfer", "compute"]
    assert "chosen" in text[3]
    assert task_cluster("task", "cancel", name).exit_code == 0
    assert task_cluster("task", "explain", f"{name}-none").exit_code == 1


# --- watch ---------------------------------------------------------------------------------------


def test_task_watch_of_a_task_ends_with_it_and_says_how(task_cluster: Replicas, name: str) -> None:
    created = submit(task_cluster, name, "sleep 0.3; echo done")["created"]
    watched = task_cluster("task", "watch", name, "--from-revision", str(created), "--json")
    assert watched.exit_code == 0, watched.output
    events = objects(watched)
    assert [event["state"] for event in events] == ["ready", "claimed", "done"]
    assert {event["id"] for event in events} == {name}
    assert events[1]["token"] == events[1]["revision"] == events[2]["token"]
    assert task_cluster("task", "watch", name).stdout == ""
    failing = f"{name}-failing"
    submit(task_cluster, failing, "exit 65")
    failed = task_cluster("task", "watch", failing)
    assert failed.exit_code == 1
    assert failed.stderr == f"paxos: {failing} is dead: exit status 65\n"
    assert task_cluster("task", "watch", f"{name}-none").exit_code == 1


def test_task_watch_of_one_that_was_begun_anew_does_not_end_at_its_first_death(
    task_cluster: Replicas, name: str, tmp_path: Path
) -> None:
    created = submit(task_cluster, name, f"test -e {tmp_path}/go || exit 65")["created"]
    wait_state(task_cluster, name, "dead")
    (tmp_path / "go").touch()
    assert task_cluster("task", "retry", name).exit_code == 0
    watched = task_cluster("task", "watch", name, "--from-revision", str(created), "--json")
    assert watched.exit_code == 0, watched.output
    states = [event["state"] for event in objects(watched)]
    assert (states.count("dead"), states[-1]) == (1, "done")


def test_task_watch_of_everything_tells_tasks_and_nodes_in_order(
    task_cluster: Replicas, name: str
) -> None:
    created = submit(task_cluster, name, "true")["created"]
    wait_state(task_cluster, name, "done")
    first = ("--from-revision", "1", "--json")
    events = objects(task_cluster("task", "watch", *first, "--events", str(created)))
    assert [event["revision"] for event in events] == list(range(1, created + 1))
    assert {event["type"] for event in events} == {"task", "node"}
    text = task_cluster("task", "watch", "--from-revision", str(created), "--events", "1").stdout
    assert text.startswith(f"{created}  {name}  ready")
    of_node = objects(task_cluster("task", "watch", "--node", "edge-1", *first, "--events", "3"))
    assert {event["node"] for event in of_node} == {"edge-1"}


def test_task_watch_from_a_revision_to_come_waits_for_it(
    task_cluster: Replicas, edge_1: Worker, name: str
) -> None:
    created = submit(task_cluster, name, "sleep 0.5")["created"]
    watched = task_cluster(
        *("task", "watch", "--from-revision", str(created + 2), "--events", "1", "--json")
    )
    assert objects(watched)[0]["revision"] == created + 2
