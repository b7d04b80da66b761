"""``paxos worker`` and ``paxos node`` over real processes: limits, signals, deaths, the outbox."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.cli.replicas import Replicas, objects, paxos, processes_that_name, wait_until
from tests.cli.workers import Worker, worker

pytestmark = pytest.mark.processes

NUMBERS = count(1)


@pytest.fixture
def node() -> str:
    """A node, and a label that it alone has, that no other test uses."""
    return f"node-{next(NUMBERS)}"


@contextmanager
def shell(cluster: Replicas, directory: Path, node: str, *options: str) -> Iterator[Worker]:
    """Run a worker whose tasks are shell scripts, and which alone takes those of ``submit``."""
    with worker(
        *(cluster, directory, node, "--label", f"only={node}", "--capacity", "4"),
        *("--exec", "sh", *options),
    ) as running:
        yield running


def submit(cluster: Replicas, node: str, script: str, *options: str) -> str:
    """Submit a task for one node's worker, and return its id."""
    name = f"{node}-{next(NUMBERS)}"
    arguments = ["--kind", "script", "--label", f"only={node}", *options]
    done = cluster("task", "submit", name, script, *arguments)
    assert done.exit_code == 0, done.output
    return name


def shown(cluster: Replicas, name: str) -> dict[str, Any]:
    return objects(cluster("task", "show", name, "--json"))[0]


def finished(cluster: Replicas, name: str) -> dict[str, Any]:
    """Wait until a task is finished, and return it."""
    assert cluster("task", "watch", name).exit_code in (0, 1)
    return shown(cluster, name)


def of_node(cluster: Replicas, name: str) -> dict[str, Any]:
    rows = objects(cluster("node", "list", "--json"))
    return next(row for row in rows if row["node"] == name)


# --- what a program is told, and may take --------------------------------------------------------


def test_program_of_a_task_is_told_what_it_runs(
    task_cluster: Replicas, tmp_path: Path, node: str
) -> None:
    with shell(task_cluster, tmp_path, node):
        name = submit(task_cluster, node, "env | grep ^PAXOS_TASK | sort")
        task = finished(task_cluster, name)
        told = dict(line.split("=", 1) for line in task["result"].splitlines())
        inputs, progress = told.pop("PAXOS_TASK_INPUTS"), told.pop("PAXOS_TASK_PROGRESS")
        assert told == {
            "PAXOS_TASK_ATTEMPT": "1",
            "PAXOS_TASK_ID": name,
            "PAXOS_TASK_KIND": "script",
            "PAXOS_TASK_NODE": node,
            "PAXOS_TASK_TOKEN": str(task["token"]),
        }
        assert not Path(inputs).exists()
        assert not Path(progress).exists()


def test_program_that_tells_how_far_it_is_is_heard_while_it_runs(
    task_cluster: Replicas, tmp_path: Path, node: str
) -> None:
    with shell(task_cluster, tmp_path, node):
        go = tmp_path / "go"
        script = f'echo half > "$PAXOS_TASK_PROGRESS"; while ! test -e {go}; do sleep 0.05; done'
        name = submit(task_cluster, node, script)
        wait_until(lambda: shown(task_cluster, name)["progress"] == "half", "it is half way")
        assert shown(task_cluster, name)["state"] == "claimed"
        assert "half" in task_cluster("task", "list", "--node", node).stdout
        go.touch()
        assert finished(task_cluster, name)["state"] == "done"


def test_program_over_its_limits_is_ended_and_the_task_says_why(
    task_cluster: Replicas, tmp_path: Path, node: str
) -> None:
    with shell(task_cluster, tmp_path, node, "--time-limit", "300ms", "--output-limit", "1KB"):
        slow = submit(task_cluster, node, "sleep 600", "--attempts", "1")
        task = finished(task_cluster, slow)
        assert task["state"] == "dead"
        assert "the program was ended after 0.3 s" in task["reason"]
        wide = submit(task_cluster, node, "head -c 1001 /dev/zero")
        task = finished(task_cluster, wide)
        assert (task["state"], task["attempt"]) == ("dead", 1)
        assert "more than 1000 bytes" in task["reason"]
        exact = submit(task_cluster, node, "head -c 1000 /dev/zero")
        assert finished(task_cluster, exact)["result"] == "\0" * 1000


def test_tasks_of_a_node_run_side_by_side_as_far_as_it_has_capacity(
    task_cluster: Replicas, tmp_path: Path, node: str
) -> None:
    with shell(task_cluster, tmp_path, node):
        # Each waits for the other to begin; a third would have to wait for room.
        script = "touch {here}; while ! test -e {there}; do sleep 0.05; done"
        one, two = tmp_path / "one", tmp_path / "two"
        names = [
            submit(task_cluster, node, script.format(here=here, there=there), "--demand", "2")
            for here, there in ((one, two), (two, one))
        ]
        assert [finished(task_cluster, name)["state"] for name in names] == ["done", "done"]


# --- how a worker ends ---------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_worker_told_to_stop_finishes_what_it_has_and_leaves(
    task_cluster: Replicas, tmp_path: Path, node: str, number: int
) -> None:
    with shell(task_cluster, tmp_path, node) as running:
        go = tmp_path / "go"
        name = submit(task_cluster, node, f"while ! test -e {go}; do sleep 0.05; done; echo end")
        running.wait_event("claimed")
        running.tell(number)
        waiting = submit(task_cluster, node, "echo never")
        go.touch()
        assert running.wait_end() == 0, running.said
        assert shown(task_cluster, name)["result"] == "end\n"
        assert shown(task_cluster, waiting)["state"] == "ready"
        assert of_node(task_cluster, node)["state"] == "lapsed"
        assert [event["event"] for event in running.events()] == ["registered", "claimed", "done"]
        claimed = running.events("claimed")[0]
        assert claimed == {
            "event": "claimed",
            "node": node,
            "task": name,
            "token": claimed["token"],
        }


def test_worker_told_twice_ends_at_once_with_its_programs(
    task_cluster: Replicas, tmp_path: Path, node: str
) -> None:
    mark = str(tmp_path / "mark")
    with shell(task_cluster, tmp_path, node) as running:
        submit(task_cluster, node, f"sh -c 'sleep 600; : {mark}'")
        wait_until(lambda: processes_that_name(mark) != [], "its program runs")
        running.tell()
        running.tell(signal.SIGINT)
        assert running.wait_end() == 130, running.said
        assert processes_that_name(mark) == []


def test_worker_killed_in_the_middle_loses_its_task_to_another_attempt(
    task_cluster: Replicas, tmp_path: Path, node: str
) -> None:
    script = f"echo $PAXOS_TASK_TOKEN >> {tmp_path}/tokens; test $PAXOS_TASK_ATTEMPT = 2 || sleep 9"
    with shell(task_cluster, tmp_path, node) as first:
        name = submit(task_cluster, node, script)
        wait_until((tmp_path / "tokens").exists, "its program runs")
        first.tell(signal.SIGKILL)
        first.wait_end()
    with shell(task_cluster, tmp_path, node):
        task = finished(task_cluster, name)
    assert (task["state"], task["attempt"]) == ("done", 2)
    tokens = [int(line) for line in (tmp_path / "tokens").read_text().split()]
    assert tokens == sorted(set(tokens))
    assert tokens[-1] == task["token"]


def test_worker_whose_node_is_taken_by_another_ends_and_says_so(
    task_cluster: Replicas, tmp_path: Path, node: str
) -> None:
    (tmp_path / "second").mkdir()
    with (
        shell(task_cluster, tmp_path, node) as first,
        shell(task_cluster, tmp_path / "second", node) as second,
    ):
        assert first.wait_end() == 1
        assert f"node {node} was registered again" in first.said
        assert second.process.poll() is None
        done = finished(task_cluster, submit(task_cluster, node, "echo second"))
        assert done["result"] == "second\n"


# --- while no replica answers --------------------------------------------------------------------


def test_result_from_while_the_cluster_was_away_outlives_the_worker(
    tmp_path: Path, fresh_cluster: Replicas, node: str
) -> None:
    cluster = fresh_cluster
    outbox = ("--outbox", str(tmp_path / "outbox"))
    go, ran = tmp_path / "go", tmp_path / "ran"
    script = f"echo ran >> {ran}; while ! test -e {go}; do sleep 0.05; done; echo kept"
    with worker(cluster, tmp_path, node, "--exec", "sh", *outbox, "--lease", "60s") as first:
        name = submit_anywhere(cluster, script)
        wait_until(ran.exists, "its program runs")
        cluster.kill(*cluster.nodes)
        go.touch()
        kept = tmp_path / "outbox" / "outbox"
        wait_until(lambda: b"kept" in kept.read_bytes(), "its result is in the outbox")
        first.tell(signal.SIGKILL)
        first.wait_end()
    cluster.start(*cluster.nodes)
    (tmp_path / "second").mkdir()
    with worker(cluster, tmp_path / "second", node, "--exec", "sh", *outbox) as second:
        task = finished(cluster, name)
        assert (task["state"], task["result"], task["attempt"]) == ("done", "kept\n", 1)
        assert ran.read_text() == "ran\n"
        second.tell()
        assert second.wait_end() == 0


def submit_anywhere(cluster: Replicas, script: str) -> str:
    name = f"anywhere-{next(NUMBERS)}"
    assert cluster("task", "submit", name, script, "--kind", "script").exit_code == 0
    return name


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "culprit"),
    [
        (["--exec", "sh"], "--node"),
        (["--node", "n"], "--exec"),
        (["--node", "n", "--exec", ""], "names no program"),
        (["--node", "n", "--exec", "'"], "cannot be read"),
        (["--node", "n", "--exec", "/no/such/program x"], "no program '/no/such/program' here"),
        (["--node", "a b", "--exec", "sh"], "without spaces"),
        (["--node", "n", "--exec", "sh", "--lease", "-1s"], "'-1s' is not a duration"),
        (["--node", "n", "--exec", "sh", "--lease", "0"], "the lease"),
        (["--node", "n", "--exec", "sh", "--time-limit", "0"], "--time-limit is 0"),
        (["--node", "n", "--exec", "sh", "--capacity", "0"], "the capacity"),
        (["--node", "n", "--exec", "sh", "--speed", "0"], "the speed"),
        (["--node", "n", "--exec", "sh", "--energy", "1,2"], "'1,2' is not A,B,C"),
        (["--node", "n", "--exec", "sh", "--energy", "1,2,x"], "'x' is not an amount"),
        (["--node", "n", "--exec", "sh", "--output-limit", "1MB"], "65536 bytes"),
        (["--node", "n", "--exec", "sh", "--outbox", "o"], "--outbox needs --config"),
        (["--node", "n", "--exec", "sh", "--kind", "any"], "--kind"),
    ],
)
def test_worker_with_bad_input_exits_2_and_names_it(arguments: list[str], culprit: str) -> None:
    refused = paxos("worker", *arguments, "--endpoints", "tcp://127.0.0.1:1")
    assert refused.exit_code == 2, refused.output
    assert culprit in refused.stderr
    assert "Traceback" not in refused.output


def test_worker_with_an_outbox_that_is_not_its_own_ends_and_says_whose_it_is(
    task_cluster: Replicas, tmp_path: Path, node: str
) -> None:
    outbox = ("--outbox", str(tmp_path / "outbox"))
    with shell(task_cluster, tmp_path, node, *outbox) as running:
        used = ended(task_cluster, tmp_path / "used", node, *outbox)
        assert used.process.returncode == 2
        assert str(tmp_path / "outbox") in used.said
        running.tell()
        assert running.wait_end() == 0
    other = ended(task_cluster, tmp_path / "other", f"{node}-other", *outbox)
    assert other.process.returncode == 5
    assert f"{node}, not to " in other.said


@pytest.mark.parametrize("machine", ["nope", "config"])
def test_worker_of_a_machine_that_is_no_task_log_ends_with_the_reason(
    task_cluster: Replicas, tmp_path: Path, node: str, machine: str
) -> None:
    refused = ended(task_cluster, tmp_path / "said", node, "--machine", machine)
    assert refused.process.returncode == 1
    assert "paxos: refused: " in refused.said


def ended(cluster: Replicas, said: Path, node: str, *options: str) -> Worker:
    """Start a worker that must end by itself, and wait until it has."""
    running = Worker(cluster, said, node, "--exec", "sh", *options)
    try:
        running.wait_end()
    finally:
        running.process.kill()
    return running


# --- nodes ---------------------------------------------------------------------------------------


def test_node_list_shows_what_a_node_said_of_itself(
    task_cluster: Replicas, tmp_path: Path, node: str
) -> None:
    said = "--kind edge --speed 2.5 --price 0.1 --energy 0.01,0.1,0.01 --delay 5ms"
    options = [*said.split(), "--bandwidth", "1MB"]
    with shell(task_cluster, tmp_path, node, *options):
        row = of_node(task_cluster, node)
        asked = {"kind": "edge", "state": "live", "draining": False, "capacity": 4, "speed": 2.5}
        asked |= {"price": 0.1, "energy": [0.01, 0.1, 0.01], "delay_s": 0.005}
        asked |= {"bandwidth": 1_000_000, "labels": {"only": node}, "used": 0, "queued": 0}
        assert {key: row[key] for key in asked} == asked
        table = task_cluster("node", "list").stdout.splitlines()
        assert table[0].split()[:5] == ["node", "kind", "state", "used", "capacity"]
        (line,) = [line for line in table if line.split()[0] == node]
        assert line.split()[1:5] == ["edge", "live", "0", "4"]
        live = task_cluster("node", "list", "--live", "--refreshes", "2")
        assert live.exit_code == 0
        assert node in live.stdout


def test_node_that_is_drained_gets_nothing_new_until_that_is_undone(
    task_cluster: Replicas, tmp_path: Path, node: str
) -> None:
    with shell(task_cluster, tmp_path, node):
        drained = task_cluster("node", "drain", node, "--json")
        assert drained.exit_code == 0
        assert objects(drained)[0].keys() == {"outcome", "revision", "slot", "node"}
        assert of_node(task_cluster, node)["draining"] is True
        name = submit(task_cluster, node, "echo at last")
        assert shown(task_cluster, name)["node"] is None
        explained = objects(task_cluster("task", "explain", name, "--json"))[0]
        reasons = {each["node"]: each["reason"] for each in explained["refused"]}
        assert "drain" in reasons[node]
        assert "no node takes it now" in task_cluster("task", "explain", name).stdout
        undone = task_cluster("node", "drain", node, "--undo")
        assert undone.stdout.startswith(f"{node} takes new work again (revision ")
        assert finished(task_cluster, name)["result"] == "at last\n"


def test_node_drain_of_one_that_is_not_there_exits_1_and_names_it(task_cluster: Replicas) -> None:
    refused = task_cluster("node", "drain", "no-such-node", "--json")
    assert refused.exit_code == 1
    (told,) = objects(refused)
    assert (told["outcome"], told["node"]) == ("refused", "no-such-node")
    assert "no-such-node" in told["reason"]
