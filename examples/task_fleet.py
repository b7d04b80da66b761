"""Two cloud and two edge workers, one of which dies, as does the leader: every task has one result.

    python examples/task_fleet.py

Everything is a process of its own: three replicas of the log, four workers, and whoever watches.
Two thirds of the tasks stand for frames at two cameras; each is shrunk by an edge worker. The
others are reports, made in the cloud of two frames each. In the middle one frame takes long, and
whoever works on it is killed with SIGKILL, and so is the leader. At the end a checker goes through
the whole history of changes.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

PAXOS = [sys.executable, "-m", "paxos.cli"]
WORKERS = {"cloud-1": "cloud", "cloud-2": "cloud", "edge-1": "edge", "edge-2": "edge"}
LEASE = "2s"  # how long after its death a worker's tasks go to others
REPORTS = 20
SLOW = "frame-10-left"
# The slow one takes long the first time only: it is still at work when its worker is killed.
PROGRAM = """sh -c '
    if [ $PAXOS_TASK_KIND-$PAXOS_TASK_ATTEMPT = slow-1 ]; then sleep 10; fi
    sleep 0.1; tr a-z A-Z; cat $PAXOS_TASK_INPUTS/* 2>/dev/null; true'"""

Change = dict[str, Any]


def tasks() -> list[dict[str, Any]]:
    """Two frames for the edge, and a report for the cloud that needs both; over and over."""
    made: list[dict[str, Any]] = []
    for number in range(REPORTS):
        frames = [f"frame-{number}-{camera}" for camera in ("left", "right")]
        made += [
            {
                "id": frame,
                "kind": "slow" if frame == SLOW else "shrink",
                "on": "edge",
                "payload": f"{frame};",
            }
            for frame in frames
        ]
        report = {"id": f"report-{number}", "kind": "report", "on": "cloud", "after": frames}
        made.append(report | {"payload": f"report-{number}:"})
    return made


def expected(task: dict[str, Any]) -> str:
    """The result that the program has to come to."""
    inputs = "".join(f"{frame};".upper() for frame in task.get("after", []))
    return str(task["payload"]).upper() + inputs


class Fleet:
    """The processes of this example; whatever still runs at the end is killed."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.directory = directory
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        stack.callback(self.end)
        self.config = str(directory / "cluster" / "cluster.toml")
        os.environ["PAXOS_CONFIG"] = self.config
        os.environ["TMPDIR"] = str(directory)  # a worker that is killed cannot tidy up

    def paxos(self, *arguments: str, text: str = "") -> str:
        command = [*PAXOS, *arguments]
        return subprocess.run(
            command, input=text, capture_output=True, text=True, check=True
        ).stdout

    def start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.directory / f"{name}.log").open("ab") as log:
            process = subprocess.Popen([*PAXOS, *arguments], stdout=subprocess.PIPE, stderr=log)
        self.running[name] = process
        return process

    def start_replica(self, node: int) -> None:
        options = ["--config", self.config, "--node", str(node)]
        self.tell_ready(self.start(f"replica-{node}", "serve", *options))

    def start_worker(self, node: str) -> None:
        outbox = str(self.directory / f"outbox-{node}")
        options = ["--kind", WORKERS[node], "--capacity", "2", "--lease", LEASE]
        options += ["--outbox", outbox, "--exec", PROGRAM]
        self.tell_ready(self.start(node, "worker", "--node", node, *options))

    def tell_ready(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        print(" ", process.stdout.readline().decode().strip())

    def kill(self, name: str) -> None:
        with self.running.pop(name) as process:
            process.kill()
        print(f"  killed {name} with SIGKILL")

    def end(self) -> None:
        for process in self.running.values():
            process.kill()
        for process in self.running.values():
            with process:  # waits for it, and closes the pipe
                pass


def free_base_port() -> int:
    """The first of three neighbouring ports on which nothing listens now."""
    for base in range(20_000 + os.getpid() % 9_000, 29_997):
        try:
            for port in range(base, base + 3):
                with socket.socket() as listener:
                    listener.bind(("127.0.0.1", port))
        except OSError:
            continue
        return base
    raise SystemExit("found no three free ports")


def changes(fleet: Fleet) -> Iterator[Change]:
    """Every change from the first on: `paxos task watch` goes on over the loss of a replica."""
    watch = fleet.start("watch", "task", "watch", "--from-revision", "1", "--json")
    assert watch.stdout is not None
    for line in watch.stdout:
        yield json.loads(line)
    raise SystemExit("the watch ended")


def run(fleet: Fleet, document: str) -> list[Change]:
    """Submit all tasks, kill two processes in the middle, and return the history to the end."""
    print(fleet.paxos("task", "submit", "--batch", "-", text=document).strip())
    total, done, killed = len(tasks()), 0, ""
    history = []
    for change in changes(fleet):
        history.append(change)
        if change["type"] != "task":
            continue
        done += change["state"] == "done"
        if change["id"] == SLOW and change["state"] == "claimed" and not killed:
            killed = change["node"]  # it has just begun this task
            print(f"in the middle, with {done} of {total} tasks done:")
            fleet.kill(killed)
            status = json.loads(fleet.paxos("status", "--json"))
            leader = next(node["node"] for node in status["nodes"] if node["role"] == "leader")
            fleet.kill(f"replica-{leader}")
        if done == total:
            break
    print(f"all {total} tasks are done; what {killed} had was done by others")
    return history


def check(history: list[Change]) -> list[str]:
    """Return what is wrong with a history: nothing, if every task was done exactly once."""
    wrong = []
    revisions = [change["revision"] for change in history]
    if revisions != sorted(set(revisions)):
        wrong.append("a change was told twice, or out of order")
    for name in [task["id"] for task in tasks()]:
        mine = [change for change in history if change.get("id") == name]
        tokens = [change["token"] for change in mine if change["state"] == "claimed"]
        results = [change["token"] for change in mine if change["state"] == "done"]
        if len(results) != 1:
            wrong.append(f"{name} has {len(results)} accepted results")
        elif mine[-1]["state"] != "done":
            wrong.append(f"{name} was {mine[-1]['state']} after it was done")
        elif tokens != sorted(set(tokens)) or results[0] != tokens[-1]:
            wrong.append(f"{name} was completed by token {results[0]}, its claims had {tokens}")
    return wrong


def main() -> None:
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        fleet = Fleet(directory, stack)
        port = str(free_base_port())
        fleet.paxos("init", str(directory / "cluster"), "--replicas", "3", "--base-port", port)
        for node in (1, 2, 3):
            fleet.start_replica(node)
        for name in WORKERS:
            fleet.start_worker(name)

        document = json.dumps(tasks())
        history = run(fleet, document)

        # To submit the same tasks again changes nothing; waiting for them gives their results.
        again = fleet.paxos("task", "submit", "--batch", "-", "--wait", "--json", text=document)
        results = {task["id"]: task["result"] for task in map(json.loads, again.splitlines()[1:])}
        wrong = check(history)
        for task in tasks():
            if results[task["id"]] != expected(task):
                wrong.append(f"{task['id']} has the result {results[task['id']]!r}")
        if wrong:
            raise SystemExit("\n".join(wrong))
        claims = sum(change["state"] == "claimed" for change in history)
        print(f"{claims} claims, {len(results)} tasks, exactly one accepted result each")


if __name__ == "__main__":
    main()
