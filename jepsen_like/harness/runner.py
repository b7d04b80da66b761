"""Runs a scenario: the production replica and client in the simulator, step after step.

A run is a function of the scenario and the state machine, and of nothing else. Clients, faults and
judges meet here; every promise is checked as soon as it can be seen broken. In the end all faults
end, every request must be finished, and all nodes must be equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from jepsen_like.harness import promises
from jepsen_like.harness.faults import Faults
from jepsen_like.harness.hosted import (
    MACHINE,
    Answer,
    Factory,
    Hosted,
    Reference,
    host,
    numbered,
)
from jepsen_like.harness.promises import Broken, shown
from jepsen_like.harness.run import APPLY, QUERY, WATCH, Line, Run, Tally
from jepsen_like.harness.scenario import (
    Ask,
    Patience,
    Read,
    Scenario,
    Snapshot,
    Step,
    Wait,
    Watch,
)
from jepsen_like.harness.witness import Witness
from jepsen_like.history import NEMESIS, Entry
from jepsen_like.report.facts import Slots
from jepsen_like.sim.caller import Caller
from jepsen_like.sim.cluster import Cluster
from jepsen_like.sim.invariants import NAMES, Violation
from jepsen_like.sim.node import SimNode
from jepsen_like.sim.plan import Plan, draw_plan
from jepsen_like.sim.world import Sink, World
from paxos.core.client import Done, Failed, Outcome, Refused
from paxos.core.ids import Slot
from paxos.core.limits import Limits, Timing
from paxos.core.messages import Level
from paxos.core.replica import Replica
from paxos.core.state_machine import StateMachine

GAP_S = 0.01
"""Between a step that does not wait and the next: a few round trips."""
WAIT_S = 2.0
"""How long a client that waits holds up the next step: time for an election and a retry."""
SOON_S = 0.2
"""The deadline of a request that is given up."""
PATIENCE_S = 3600.0
"""The deadline of the others: beyond the end of any run."""
PROGRESS_S = 10.0
"""A healed cluster that gets nothing done for so long is stuck: an election takes about one."""
_LEVELS = {
    "linearizable": Level.LINEARIZABLE,
    "session": Level.SESSION,
    "local": Level.LOCAL,
}
_TIMING = Timing(
    heartbeat_interval_s=0.15,
    election_timeout_s=0.5,
    resend_interval_s=0.15,
    notice_interval_s=0.02,
)


def plan_of(scenario: Scenario) -> Plan:
    """Return a plan with nothing in it that the scenario does not say."""
    weather, majority = scenario.weather, scenario.nodes // 2 + 1
    return replace(
        draw_plan(0),
        nodes=scenario.nodes,
        phase1=majority,
        phase2=majority,
        alpha=8,
        limits=Limits(),
        timing=_TIMING,
        codec=False,
        inline_sync=False,
        sync_s=(0.001, 0.002),
        latency_s=(0.0005, 0.0005),
        clients=scenario.clients,
        edge_config=False,
        faults=(),
        churn=(),
        loss=0.1 if "loss" in weather else 0.0,
        duplication=0.2 if "duplication" in weather else 0.0,
        spikes=0.05 if "delay" in weather else 0.0,
        overtaking=0.3 if "reordering" in weather else 0.0,
        replays=0.03 if "duplication" in weather else 0.0,
        corruption=0.0,
        drift=0.0,
        outbox_bytes=1_000_000,
        real_log=False,
        beyond=False,
        permanent=False,
    )


@dataclass(slots=True)
class _Operation:
    """What a client waits for."""

    client: str
    process: int
    f: str
    text: bytes
    floor: Slot
    line: Line
    number: int = 0  # of a command
    latest: bool = False  # whether it is a linearizable read
    ended: bool = False


def run_scenario(scenario: Scenario, factory: Factory, sink: Sink | None = None) -> Run:
    """Run a scenario to its end, or to the first broken promise.

    Args:
        scenario: What happens.
        factory: Makes the user's state machine.
        sink: Takes the simulator's trace, line by line.
    """
    runner = _Runner(scenario, factory, sink)
    try:
        runner.play()
    except Broken as broken:
        runner.break_off(broken.promise, broken.text)
    except Violation as violation:
        name = f"invariant {violation.number}: {NAMES[violation.number]}"
        runner.break_off(name, violation.text)
    return runner.sum_up()


class _Runner:
    """One run under way."""

    def __init__(self, scenario: Scenario, factory: Factory, sink: Sink | None) -> None:
        self._scenario = scenario
        self._factory = factory
        self._world = World(scenario.seed, plan_of(scenario), sink)
        self._reference = Reference(factory)
        self._witness = Witness(self._reference)
        self._starting = "the model"
        self._hosted: dict[str, Hosted] = {}
        self._cluster = Cluster(self._world, Replica, self._machines)
        self._faults = Faults(self._cluster, self._start)
        numbers = range(1, scenario.clients + 1)
        self._callers = [Caller(self._world, n, self._cluster.endpoints) for n in numbers]
        self._operations: list[_Operation] = []
        self._run = Run(scenario, tally=Tally(runs=1))
        self._line = self._say(0, "cluster", "starts")
        self._led = ""
        self._at_end = False

    # --- the cluster ---

    def _machines(self) -> dict[str, StateMachine]:
        hosted = host(self._starting, self._factory, self._reference)
        self._hosted[self._starting] = hosted
        return {MACHINE: hosted}

    def _start(self, node: SimNode) -> None:
        self._starting = str(node.voter)
        node.start()

    def play(self) -> None:
        """Let everything happen.

        Raises:
            Broken: A promise of the state machine.
            Violation: An invariant of the protocol.
        """
        for node in self._cluster.nodes:
            self._start(node)
        self._until(WAIT_S, lambda: self._faults.leader() is not None)
        self._note_leader()
        for number, step in enumerate(self._scenario.steps, 1):
            self._step(number, step)
            self._note_leader()
        self._heal()

    def _note_leader(self) -> None:
        leader = self._faults.leader()
        leads = "" if leader is None else str(leader.voter)
        if leads not in ("", self._led):
            self._led = leads
            self._line.results.append(f"{leads} leads")

    def _until(self, longest_s: float, reached: Callable[[], bool]) -> bool:
        """Let time pass until something is reached. Returns whether it was."""
        world = self._world
        stop = world.now + longest_s
        world.at(stop, _nothing)
        while not reached():
            if world.now >= stop:
                return False
            world.step()
        return True

    # --- steps ---

    def _step(self, number: int, step: Step) -> None:
        if isinstance(step, Ask):
            self._ask(number, step)
        elif isinstance(step, Read):
            self._read(number, step)
        elif isinstance(step, Watch):
            self._watch(number, step)
        elif isinstance(step, Wait):
            self._line = self._say(number, "nemesis", f"{step.milliseconds} ms pass")
            self._until(step.milliseconds / 1000, _never)
        elif isinstance(step, Snapshot):
            self._snapshot(number, step)
        else:
            with self._fault(number, "nemesis"):
                self._line.text = self._faults.strike(step)

    @contextmanager
    def _fault(self, number: int, who: str) -> Iterator[None]:
        """Count what struck, and whether anything was under way then."""
        before = self._faults.struck.copy()
        self._line = self._say(number, who, "")
        waiting = any(not operation.ended for operation in self._operations)
        yield
        struck = self._faults.struck - before
        self._run.history.append(self._entry(NEMESIS, "info", "fault", self._line.text))
        if waiting:
            self._run.tally.in_flight.update(struck)
        self._until(GAP_S, _never)

    def _snapshot(self, number: int, step: Snapshot) -> None:
        node = self._faults.node(step.node)
        name = str(node.voter)
        with self._fault(number, name):
            if not node.up:
                self._line.text = f"{name} is to start from a snapshot, but it is down"
                return
            self._line.text = (
                f"{name}'s state machine is replaced by a fresh one, restored from its snapshot"
            )
            snapshot = self._hosted[name].renew()
            self._line.results.append(shown(snapshot))
            self._faults.struck["snapshot"] += self._hosted[name].applied > 0

    def _ask(self, number: int, step: Ask) -> None:
        caller, what = self._callers[step.client - 1], f"has {shown(step.command)} applied"
        operation = self._begin(number, step.client, APPLY, step.command, what, step.patience)
        operation.number = number
        data = numbered(number, step.command)
        caller.submit(MACHINE, [data], _patience_s(step.patience), [self._on_end(operation)])
        self._leave(caller, operation, step.patience)

    def _read(self, number: int, step: Read) -> None:
        caller, level = self._callers[step.client - 1], _LEVELS[step.level]
        how = "" if level is Level.LINEARIZABLE else f" ({step.level})"
        what = f"asks {shown(step.query)}{how}"
        f = QUERY if level is Level.LINEARIZABLE else f"{step.level} {QUERY}"
        operation = self._begin(number, step.client, f, step.query, what, step.patience)
        operation.latest = level is Level.LINEARIZABLE
        if not operation.latest:
            operation.floor = caller.seen_through if level is Level.SESSION else 0
        patience_s = _patience_s(step.patience)
        caller.read(level, MACHINE, step.query, patience_s, self._on_end(operation))
        self._leave(caller, operation, step.patience)

    def _watch(self, number: int, step: Watch) -> None:
        caller, what = self._callers[step.client - 1], f"watches {shown(step.query)}"
        operation = self._begin(number, step.client, WATCH, step.query, what, "waits")
        caller.watch(MACHINE, step.query, PATIENCE_S, self._on_end(operation))
        self._leave(caller, operation, "goes on")

    def _begin(
        self, number: int, client: int, f: str, text: bytes, what: str, patience: Patience
    ) -> _Operation:
        name = f"c{client}"
        ways = {"waits": "", "goes on": ", and goes on", "gives up": ", for 0.2 s at most"}
        self._line = self._say(number, name, f"{name} {what}{ways[patience]}")
        process = self._free_process(client)
        operation = _Operation(name, process, f, text, self._witness.begins(), self._line)
        self._operations.append(operation)
        value = text.decode("latin-1")
        self._run.history.append(self._entry(process, "invoke", f, value))
        return operation

    def _free_process(self, client: int) -> int:
        """A process asks one thing at a time: a client is as many as it has requests open."""
        busy = {operation.process for operation in self._operations if not operation.ended}
        process, clients = client - 1, self._scenario.clients
        while process in busy:
            process += clients
        return process

    def _leave(self, caller: Caller, operation: _Operation, patience: Patience) -> None:
        caller.leave()
        if patience == "waits":
            self._until(WAIT_S, lambda: operation.ended)
        else:
            self._until(GAP_S, _never)

    # --- answers ---

    def _on_end(self, operation: _Operation) -> Callable[[Outcome], None]:
        return lambda outcome: self._ends(operation, outcome)

    def _ends(self, operation: _Operation, outcome: Outcome) -> None:
        operation.ended = True
        if isinstance(outcome, Done | Failed):
            answer = _answer(outcome)
            text = f"{answer}, in slot {outcome.slot}"
            operation.line.results.append(self._when(operation, text))
            self._record(operation, "fail" if answer.failed else "ok", answer.data)
            self._judge(operation, outcome.slot, answer)
            return
        known = isinstance(outcome, Refused)
        text = f"{'refused' if known else 'nobody knows'}: {outcome.reason}"
        operation.line.results.append(self._when(operation, text))
        asks = operation.f == APPLY
        if asks and known:
            self._witness.refused(operation.number, operation.text)
        self._run.tally.unknown += asks and not known
        self._record(operation, "fail" if known else "info", None, outcome.reason)

    def _when(self, operation: _Operation, text: str) -> str:
        if self._line is operation.line:
            return text
        when = "at the end" if self._at_end else f"during step {self._line.number}"
        return f"{text} ({when})"

    def _record(
        self, operation: _Operation, type_: str, data: bytes | None, error: str | None = None
    ) -> None:
        value = operation.text if type_ != "ok" or data is None else data
        if type_ == "fail" and error is None and data is not None:
            error = data.decode("latin-1")
        text = value.decode("latin-1")
        self._run.history.append(self._entry(operation.process, type_, operation.f, text, error))

    def _judge(self, operation: _Operation, slot: Slot, answer: Answer) -> None:
        tally, witness = self._run.tally, self._witness
        client, text, floor = operation.client, operation.text, operation.floor
        if operation.f == APPLY:
            tally.commands += 1
            tally.refusals += answer.failed
            witness.done(client, operation.number, text, floor, slot, answer)
        elif operation.f != WATCH:
            tally.reads += 1
            tally.reads_of_writes += bool(self._reference.log)
            witness.read(client, text, floor, slot, answer, latest=operation.latest)
        else:
            tally.told += 1
            witness.told(client, text, slot, answer)

    # --- the end ---

    def _heal(self) -> None:
        self._at_end = True
        self._line = self._say(0, "nemesis", "all faults end, and every request is finished")
        self._faults.heal()
        progress, nodes = -1, self._cluster.nodes
        while self._lacking():
            before, progress = progress, self._progress()
            if progress == before:
                self._judge_watches()
                text = f"nothing was done for {PROGRESS_S:.0f} s: {self._lacking()}"
                raise Broken(promises.HEALED_CLUSTER_WORKS, text)
            self._until(PROGRESS_S, lambda: not self._lacking())
        self._cluster.judge(nodes)
        self._judge_states()
        self._witness.finished()

    def _lacking(self) -> str:
        """Return what is still owed, or nothing. A watch is owed what there is to tell."""
        for operation in self._operations:
            if not operation.ended and not (operation.f == WATCH and self._quiet(operation)):
                return f"{operation.client} waits for {shown(operation.text)}"
        # Right after a power cut all nodes are equal, and have not yet applied again what they did.
        log, nodes = self._reference.log, self._cluster.nodes
        last = log[-1].at.slot if log else 0
        for node in nodes:
            if node.replica.executor.applied_through < last:
                return f"{node.voter} has not applied slot {last} again"
        return self._cluster.lacking(nodes)

    def _quiet(self, watch: _Operation) -> bool:
        return self._reference.watch(watch.text, len(self._reference.log)) is None

    def _judge_watches(self) -> None:
        for operation in self._operations:
            if operation.f == WATCH and not operation.ended:
                self._witness.still_watches(operation.client, operation.text)

    def _progress(self) -> int:
        nodes = self._cluster.nodes
        applied = sum(node.replica.executor.applied_through for node in nodes)
        return applied + sum(operation.ended for operation in self._operations)

    def _judge_states(self) -> None:
        right = self._reference.state()
        for node in self._cluster.nodes:
            state = b"".join(self._hosted[str(node.voter)].snapshot())
            text = "{} ends with the snapshot {}; a machine that ran the same log alone has {}"
            facts = (node.voter, shown(state), shown(right))
            promises.keep(state == right, promises.SAME_RUN_SAME_STATE, text, *facts)

    # --- what is told ---

    def _say(self, number: int, who: str, text: str) -> Line:
        line = Line(number, self._world.now, who, text)
        self._run.lines.append(line)
        return line

    def _entry(
        self, process: int | str, type_: str, f: str, value: str, error: str | None = None
    ) -> Entry:
        time = int(self._world.now * 1e9)
        return Entry(process, type_, f, None, value, time, error)  # type: ignore[arg-type]

    def break_off(self, promise: str, text: str) -> None:
        """A promise was seen broken: nothing more happens."""
        self._run.promise, self._run.text = promise, text
        self._line.wrong = True
        self._run.slots = self._slots()

    def _slots(self) -> Slots:
        """Return which node holds what at this moment."""
        nodes = self._cluster.nodes
        up = [node for node in nodes if node.up]
        known = [node.replica.acceptor for node in up]
        last = max((logged.at.slot for logged in self._reference.log), default=0)
        rows = []
        for slot in range(1, last + 1):
            held = {n.voter: acceptor.held(slot) for n, acceptor in zip(up, known, strict=True)}
            cells = []
            for node in nodes:
                at = held.get(node.voter)
                how = "" if at is None else "decided" if at.decided else f"accepted {at.ballot}"
                cells.append(f"{how} {at.value}" if at is not None else "")
            rows.append((slot, cells))
        return Slots([str(node.voter) for node in nodes], rows)

    def sum_up(self) -> Run:
        """Return what the run came to."""
        run, effects = self._run, self._world.effects
        run.log = self._reference.log
        run.bands = sorted(self._faults.bands, key=lambda band: band.start_s)
        run.tally.deliveries = self._world.deliveries
        struck = self._faults.struck
        struck.update({name: effects[name] for name in self._scenario.weather})
        run.tally.effects = +struck  # without those that changed nothing
        return run


def _patience_s(patience: Patience) -> float:
    return SOON_S if patience == "gives up" else PATIENCE_S


def _answer(outcome: Done | Failed) -> Answer:
    if isinstance(outcome, Done):
        return Answer(outcome.data, False)
    return Answer(outcome.reason.encode(errors="surrogateescape"), True)


def _nothing() -> None:
    """Give time a point at which to stop."""


def _never() -> bool:
    return False
