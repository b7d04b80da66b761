"""A tiny cluster for the pure client to be wrong about, and everything it must never be.

Three fake replicas share one log; at most one leads. Frames wait in both directions, connections
break at any point, a leader that is replaced loses what it held or has it decided much later, the
session table is too small, replicas refuse, go silent, answer twice, and send the client in
circles. Each command names its token, so that what became of it can be looked up.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from paxos.core.client import (
    Answered,
    Client,
    ClientEffect,
    ClientEvent,
    ClientOptions,
    Connect,
    Connected,
    DeadlinePassed,
    Disconnected,
    Done,
    Ended,
    Failed,
    Outcome,
    Refused,
    Transmit,
    Unknown,
)
from paxos.core.messages import (
    CancelWatch,
    ClientAnswer,
    ClientMessage,
    Level,
    OpenSession,
    Overloaded,
    Read,
    ReadAnswer,
    Redirect,
    Result,
    Results,
    SessionOpened,
    Status,
    Submit,
    Watch,
)

URLS = ("fake://1", "fake://2", "fake://3")
OPTIONS = ClientOptions(
    command_bytes_max=100,
    requests_max=40,
    window_max=7,
    submission_commands_max=3,
    submission_bytes_max=40,
)
SESSIONS_MAX = 2
FAR = 1e6


def command_of(token: int, machine: str) -> bytes:
    return f"{machine} {token}".encode()


def anybody(asked: Read | Watch) -> bool:
    """Whether any replica may answer, not only a leader."""
    return isinstance(asked, Watch) or asked.level is not Level.LINEARIZABLE


class Table:
    """The replicated state: sessions, and which command was applied where. Naive on purpose."""

    def __init__(self) -> None:
        self.slot = 0
        self.sessions: dict[int, dict[int, Result]] = {}
        self.acked: dict[int, int] = {}
        self.applied: dict[bytes, tuple[int, Result]] = {}

    def open(self) -> int:
        if len(self.sessions) == SESSIONS_MAX:
            del self.sessions[next(iter(self.sessions))]
        session = len(self.acked) + 1
        self.sessions[session], self.acked[session] = {}, 0
        return session

    def apply(self, submit: Submit) -> tuple[Result, ...]:
        numbered = enumerate(submit.commands, submit.first)
        stored = self.sessions.pop(submit.session, None)
        if stored is None:
            return tuple(Result(n, Status.EXPIRED, self.slot, b"expired") for n, _ in numbered)
        self.sessions[submit.session] = stored
        acked = self.acked[submit.session] = max(self.acked[submit.session], submit.acked_through)
        results = []
        for number, command in numbered:
            if number <= acked:
                continue
            if number > acked + OPTIONS.window_max:
                results.append(Result(number, Status.REFUSED, self.slot, b"too many"))
                continue
            if number not in stored:
                assert command not in self.applied, f"{command!r} was applied twice"
                status = Status.FAILED if command.startswith(b"bad") else Status.DONE
                stored[number] = Result(number, status, self.slot, b"did " + command)
                self.applied[command] = (self.slot, stored[number])
            results.append(stored[number])
        return tuple(results)


class ClientMachine(RuleBasedStateMachine):
    """Drives one client; the class attribute lets tests put a broken one in its place."""

    client_class: type[Client] = Client

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.table = Table()
        self.leader: int | None = 0
        self.here: str | None = None  # where the client dials or is connected
        self.up = False
        self.mute = False  # the connection carries nothing, and does not break
        self.inbox: list[ClientMessage] = []  # from the client to where it is connected
        self.outbox: list[ClientAnswer] = []  # and back
        self.pending: list[tuple[bool, ClientMessage]] = []  # taken by the leader: (ours, what)
        self.limbo: list[ClientMessage] = []  # on lost connections, or held by deposed leaders
        self.questions: dict[int, Read | Watch] = {}
        self.asked: dict[int, Read | Watch] = {}  # every question, by token
        self.commands: dict[int, bytes] = {}
        self.outcomes: dict[int, Outcome] = {}
        self.cancelled: set[int] = set()
        self.numbered: dict[tuple[int, int], bytes] = {}  # (session, number) -> command
        self.expired: set[tuple[int, int]] = set()  # those the client knows to have expired

    @initialize(seed=st.integers(0, 2**32))
    def begin(self, seed: int) -> None:
        self.client = self.client_class(URLS, Random(seed), OPTIONS)

    # --- the shell ---

    def handle(self, event: ClientEvent) -> None:
        self.carry_out(self.client.handle(event, self.now))

    def carry_out(self, effects: Iterable[ClientEffect]) -> None:
        for effect in effects:
            assert str(effect)
            if isinstance(effect, Ended):
                self.ended(effect.token, effect.outcome)
            elif isinstance(effect, Connect):
                self.hang_up()
                self.here = effect.endpoint
            else:
                self.transmitted(effect)

    def transmitted(self, effect: Transmit) -> None:
        assert self.up, f"{effect} without a connection"
        message = effect.message
        if isinstance(message, Submit):
            self.check_submit(message)
        if not self.mute:
            self.inbox.append(message)

    def check_submit(self, submit: Submit) -> None:
        assert 1 <= len(submit.commands) <= OPTIONS.submission_commands_max
        if len(submit.commands) > 1:
            assert sum(map(len, submit.commands)) <= OPTIONS.submission_bytes_max
        highest = submit.first + len(submit.commands) - 1
        assert submit.acked_through < submit.first
        assert highest <= submit.acked_through + OPTIONS.window_max
        for number, command in enumerate(submit.commands, submit.first):
            assert command.startswith(submit.machine.encode())
            known = self.numbered.setdefault((submit.session, number), command)
            assert known == command, f"request {number} means {known!r} and {command!r}"
        for (session, number), command in self.numbered.items():
            if session == submit.session and number <= submit.acked_through:
                over = self.over(int(command.split()[1])) or (session, number) in self.expired
                assert over, f"{submit} acknowledges {command!r}, which has not ended"

    def over(self, token: int) -> bool:
        return token in self.outcomes or token in self.cancelled

    def ended(self, token: int, outcome: Outcome) -> None:
        assert token in self.commands or token in self.asked
        assert not self.over(token), f"t{token} ended twice"
        self.outcomes[token] = outcome
        if token in self.asked:
            self.check_answer(self.asked[token], outcome)
            return
        applied = self.table.applied.get(self.commands[token])
        if isinstance(outcome, Done | Failed):
            assert applied is not None, f"t{token} {outcome}, but it was not applied"
            slot, result = applied
            wanted: Outcome = Done(slot, result.data)
            if result.status == Status.FAILED:
                wanted = Failed(slot, result.data.decode())
            assert outcome == wanted
            assert self.client.seen_through >= slot
        elif isinstance(outcome, Refused):
            assert applied is None, f"t{token} {outcome}, but it was applied"

    def check_answer(self, asked: Read | Watch, outcome: Outcome) -> None:
        assert not isinstance(outcome, Unknown)
        if isinstance(outcome, Done):
            assert outcome.data == b"saw " + asked.query
            assert self.client.seen_through >= outcome.slot

    def hang_up(self) -> None:
        """The connection goes; what was on its way to the replica may arrive all the same."""
        self.limbo += [each for each in self.inbox if isinstance(each, Submit | OpenSession)]
        self.pending = [(False, each) for _, each in self.pending]
        self.inbox, self.outbox, self.questions = [], [], {}
        self.here, self.up, self.mute = None, False, False

    # --- what a program does ---

    def allot(self, tokens: range, machine: str, long: bool) -> list[bytes]:
        tail = b"." * 30 if long else b""
        commands = [command_of(token, machine) + b" " + tail for token in tokens]
        self.commands.update(zip(tokens, commands, strict=True))
        return commands

    @rule(
        count=st.integers(0, 6),
        machine=st.sampled_from(["good", "bad"]),
        patience=st.sampled_from([0.3, 3.0, FAR]),
        long=st.booleans(),
        flush=st.booleans(),
    )
    def submit(self, count: int, machine: str, patience: float, long: bool, flush: bool) -> None:
        start = 1 + max([0, *self.commands, *self.asked])
        commands = self.allot(range(start, start + count), machine, long)
        tokens = self.client.submit(machine, commands, self.now + patience)
        assert tokens == range(start, start + count)
        if flush:
            self.flush()

    @rule(level=st.sampled_from(Level), patience=st.sampled_from([0.3, 3.0, FAR]))
    def read(self, level: Level, patience: float) -> None:
        token = 1 + max([0, *self.commands, *self.asked])
        seen = self.client.seen_through
        query = str(token).encode()
        self.asked[token] = Read(token, level, "m", query, seen if level is Level.SESSION else 0)
        assert self.client.read(level, "m", query, self.now + patience) == token
        self.flush()

    @rule(patience=st.sampled_from([0.3, 100.0]))
    def watch(self, patience: float) -> None:
        token = 1 + max([0, *self.commands, *self.asked])
        query = str(token).encode()
        self.asked[token] = Watch(token, "m", query, self.client.seen_through)
        assert self.client.watch("m", query, self.now + patience) == token
        self.flush()

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        token = data.draw(st.sampled_from([0, *self.commands, *self.asked]))
        self.client.cancel(token)
        if not self.over(token):
            self.cancelled.add(token)

    # A walk in which every step may be a fault goes nowhere: these rules let things get done.

    @rule(steps=st.integers(1, 30))
    def progress(self, steps: int) -> None:
        for _ in range(steps):
            if not self.mute:
                self.step(0.1)

    @rule(
        count=st.integers(1, 4),
        machine=st.sampled_from(["good", "bad"]),
        patience=st.sampled_from([1.0, FAR]),
        steps=st.integers(0, 12),
    )
    def submit_and_progress(self, count: int, machine: str, patience: float, steps: int) -> None:
        self.submit(count, machine, patience, False, True)
        self.progress(steps)

    @rule(leader=st.sampled_from([0, 1, 2]), steps=st.integers(0, 30))
    def change_leader_and_progress(self, leader: int, steps: int) -> None:
        self.change_leader(leader, True)
        self.progress(steps)

    @rule()
    def flush(self) -> None:
        self.carry_out(self.client.flush(self.now))

    # --- connections ---

    @precondition(lambda self: self.here is not None and not self.up)
    @rule(works=st.sampled_from([True, True, True, False]))
    def dial(self, works: bool) -> None:
        assert self.here is not None
        self.up = works
        endpoint = self.here
        if not works:
            self.hang_up()
        self.handle(Connected(endpoint) if works else Disconnected(endpoint))

    @precondition(lambda self: self.up)
    @rule()
    def break_connection(self) -> None:
        endpoint = self.here
        assert endpoint is not None
        self.hang_up()
        self.handle(Disconnected(endpoint))

    @precondition(lambda self: self.up)
    @rule()
    def fall_silent(self) -> None:
        self.mute = True

    @rule(event=st.sampled_from([Connected("fake://9"), Disconnected("fake://9")]))
    def hear_of_a_connection_long_gone(self, event: ClientEvent) -> None:
        self.handle(event)

    # --- replicas ---

    def is_leader_here(self) -> bool:
        return self.up and self.leader is not None and self.here == URLS[self.leader]

    def url_of(self, hint: int) -> str | None:
        return URLS[hint - 1] if 1 <= hint <= len(URLS) else None

    @precondition(lambda self: self.inbox and not self.mute)
    @rule(hint=st.integers(0, 4))
    def take_message(self, hint: int) -> None:
        message = self.inbox.pop(0)
        if isinstance(message, CancelWatch):
            self.questions.pop(message.number, None)
        elif isinstance(message, Watch | Read) and (self.is_leader_here() or anybody(message)):
            self.questions[message.number] = message
        elif not self.is_leader_here():
            self.outbox.append(Redirect(hint))
        else:
            self.pending.append((True, message))

    @precondition(lambda self: self.inbox and not self.mute and self.is_leader_here())
    @rule()
    def be_too_busy(self) -> None:
        messages, self.inbox = self.inbox, []
        for message in messages:
            if isinstance(message, Submit):
                self.outbox.append(Overloaded(message.session, message.first, 150, "busy"))
            elif isinstance(message, OpenSession):
                self.outbox.append(Overloaded(message.nonce, 0, 150, "busy"))
            elif isinstance(message, Read):
                self.outbox.append(ReadAnswer(message.number, Status.REFUSED, 0, b"busy"))
            else:
                self.inbox.append(message)

    def decide(self, ours: bool, message: ClientMessage) -> None:
        self.table.slot += 1
        answer: ClientAnswer
        if isinstance(message, OpenSession):
            answer = SessionOpened(message.nonce, self.table.open())
        else:
            assert isinstance(message, Submit)
            answer = Results(message.session, self.table.apply(message))
        if ours and self.up and not self.mute:
            self.outbox.append(answer)

    @precondition(lambda self: self.pending)
    @rule()
    def decide_next(self) -> None:
        self.decide(*self.pending.pop(0))

    @precondition(lambda self: self.limbo)
    @rule(data=st.data())
    def decide_from_limbo(self, data: st.DataObject) -> None:
        # A leader knows where a session's client is now, whatever connection the frame came on.
        position = data.draw(st.integers(0, len(self.limbo) - 1))
        self.decide(self.is_leader_here(), self.limbo.pop(position))

    @precondition(lambda self: self.limbo)
    @rule()
    def forget_limbo(self) -> None:
        self.limbo.clear()

    @rule(leader=st.sampled_from([None, 0, 1, 2]), tell=st.booleans())
    def change_leader(self, leader: int | None, tell: bool) -> None:
        if leader == self.leader:
            return
        deposed = self.is_leader_here()
        self.leader = leader
        self.limbo += [each for _, each in self.pending]
        self.pending = []
        if deposed and tell and not self.mute:
            self.outbox.append(Redirect(0 if leader is None else leader + 1))

    @rule(steps=st.integers(0, 12))
    def evict_every_session_and_progress(self, steps: int) -> None:
        for _ in range(SESSIONS_MAX):
            self.table.slot += 1
            self.table.open()
        self.progress(steps)

    @precondition(lambda self: self.questions and not self.mute)
    @rule(data=st.data(), status=st.sampled_from(Status), twice=st.booleans())
    def answer_question(self, data: st.DataObject, status: Status, twice: bool) -> None:
        number = data.draw(st.sampled_from(sorted(self.questions)))
        asked = self.questions.pop(number)
        slot = max(self.table.slot, asked.at_least)
        text = b"saw " + asked.query if status is Status.DONE else b"no"
        answer = ReadAnswer(number, status, slot, text)
        self.outbox += [answer, answer] if twice else [answer]

    @precondition(lambda self: self.outbox and not self.mute)
    @rule(twice=st.booleans())
    def deliver(self, twice: bool) -> None:
        message = self.outbox.pop(0)
        # Results are repeated by replicas themselves: a retry that was decided is answered again.
        repeats = 2 if twice and isinstance(message, Results) else 1
        if isinstance(message, Results):
            expired = [r.request for r in message.results if r.status == Status.EXPIRED]
            self.expired.update((message.session, number) for number in expired)
        for _ in range(repeats):
            hint = self.url_of(message.leader) if isinstance(message, Redirect) else None
            self.handle(Answered(message, hint))

    # --- time ---

    @rule(seconds=st.sampled_from([0.01, 0.1, 0.5, 2.5]))
    def wait(self, seconds: float) -> None:
        self.pass_time(self.now + seconds)

    def pass_time(self, until: float) -> None:
        for _ in range(1000):
            due = self.client.next_deadline()
            if due > until:
                break
            self.now = max(self.now, due)
            self.handle(DeadlinePassed())
            assert self.client.next_deadline() > self.now, "the client asks to be woken for nothing"
        else:
            raise AssertionError("the client never sleeps")
        self.now = until

    @invariant()
    def a_token_is_open_or_over(self) -> None:
        if hasattr(self, "client"):
            known = {*self.commands, *self.asked}
            assert set(self.client._open) <= known - set(self.outcomes) - self.cancelled

    def teardown(self) -> None:
        if hasattr(self, "client"):
            self.heal()
            self.check_at_the_end()

    def heal(self) -> None:
        """One replica leads and all work: everything must end soon."""
        self.change_leader(1, False)
        if self.mute:
            self.hang_up_silently()
        self.flush()
        until = self.now + 60.0
        while self.open_tokens() and self.now < until:
            self.step(1.0)
        left = self.open_tokens()
        assert not left, f"after a minute of health {left} have not ended"

    def hang_up_silently(self) -> None:
        endpoint = self.here
        assert endpoint is not None
        self.hang_up()
        self.handle(Disconnected(endpoint))

    def open_tokens(self) -> list[int]:
        return [t for t in (*self.commands, *self.asked) if not self.over(t)]

    def step(self, idle_s: float) -> None:
        """Do the next thing that needs no fault."""
        if self.here is not None and not self.up:
            self.dial(True)
        elif self.inbox:
            self.take_message(0 if self.leader is None else self.leader + 1)
        elif self.pending:
            self.decide_next()
        elif self.questions:
            number, asked = self.questions.popitem()
            slot = max(self.table.slot, asked.at_least)
            self.outbox.append(ReadAnswer(number, Status.DONE, slot, b"saw " + asked.query))
        elif self.outbox:
            self.deliver(False)
        else:
            due = max(self.client.next_deadline(), self.now)
            self.pass_time(min(due, self.now + idle_s))

    def check_at_the_end(self) -> None:
        # What is still on its way somewhere may be decided years later.
        for message in [each for _, each in self.pending] + self.limbo:
            self.decide(False, message)
        for token, outcome in self.outcomes.items():
            if token in self.commands and isinstance(outcome, Refused):
                applied = self.table.applied.get(self.commands[token])
                assert applied is None, f"t{token} {outcome}, and was applied at last"
        assert not self.client._open
        assert not self.client._unsent
        assert all(not session.sent for session in self.client._sessions.values())
        assert len(self.client._sessions) <= 1
