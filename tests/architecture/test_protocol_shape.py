"""Safety that the shape of the code carries.

Acceptor and learner take no time: agreement cannot depend on clocks if they never see one. And a
Prepare, a Promise or an Accepted is made only for the ``then`` of a Persist: durable before
visible. The second rule follows a message through local names and through the functions that
return one, to the Persist that carries it; what it cannot follow, it rejects.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable

import pytest

from tests.architecture.sources import PRODUCT, Source, dotted, functions, load, load_below, snippet

TIMELESS = ("paxos.core.acceptor", "paxos.core.learner")
TIME_WORDS = frozenset({"now", "deadline", "timeout", "instant", "elapsed"})
TIME_TYPES = frozenset({"Instant"})

VOTES = frozenset({"Prepare", "Promise", "Accepted"})
MAKERS = ("paxos.codec", "paxos.testing", "jepsen_like", "tests")
"""Outside the core only these make votes: decoded from bytes, or to test with."""


def time_offences(source: Source) -> list[str]:
    """Return every parameter that is a time, by its name or its type."""
    offences = []
    for function in functions(source.tree):
        arguments = function.args
        for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
            named = TIME_WORDS & set(each.arg.split("_"))
            typed = each.annotation is not None and dotted(each.annotation) in TIME_TYPES
            if named or typed:
                offences.append(source.offence(function, f"{function.name} takes {each.arg}"))
    return offences


class VoteFlow:
    """Follows votes from where they are made to the Persist that holds them back."""

    def __init__(self, sources: Iterable[Source]) -> None:
        self._sources = list(sources)
        # Functions that return votes: calling one is as good as making one.
        self._makers: set[str] = set()

    def offences(self) -> list[str]:
        """Return every vote that is, or may be, in no Persist's ``then``."""
        while True:
            before = len(self._makers)
            found = [text for source in self._sources for text in self._in_source(source)]
            if len(self._makers) == before:
                return found

    def _in_source(self, source: Source) -> list[str]:
        offences = []
        for function in functions(source.tree):
            parents = {
                child: node for node in ast.walk(function) for child in ast.iter_child_nodes(node)
            }
            carriers: set[str] = set()
            while True:
                before = len(carriers)
                loose = [
                    node
                    for node in ast.walk(function)
                    if self._is_vote(node, carriers)
                    and not self._is_held(node, function, parents, carriers)
                ]
                if len(carriers) == before:
                    break
            offences += [source.offence(each, f"{ast.unparse(each)} leaves") for each in loose]
        return offences

    def _is_vote(self, node: ast.AST, carriers: set[str]) -> bool:
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else dotted(node.func)
            return name in VOTES or name in self._makers
        return isinstance(node, ast.Name) and node.id in carriers and not _is_stored(node)

    def _is_held(
        self,
        node: ast.AST,
        function: ast.FunctionDef | ast.AsyncFunctionDef,
        parents: dict[ast.AST, ast.AST],
        carriers: set[str],
    ) -> bool:
        """Whether a vote ends in a ``then``; notes the names and functions it passes through."""
        child = node
        while child is not function:
            parent = parents[child]
            if isinstance(parent, ast.Call) and _is_then(parent, child):
                return True
            if isinstance(parent, ast.Return | ast.Yield):
                self._makers.add(function.name)
                return True
            if isinstance(parent, ast.Assign | ast.AnnAssign):
                targets = parent.targets if isinstance(parent, ast.Assign) else [parent.target]
                carriers |= {each.id for each in targets if isinstance(each, ast.Name)}
                return all(isinstance(each, ast.Name) for each in targets)
            if isinstance(parent, ast.Call) and _grows_a_name(parent, child):
                carriers.add(dotted(parent.func).partition(".")[0])
                return True
            if isinstance(parent, ast.Call) and parent.func is child:
                return True  # then.append(...): judged by what is appended
            child = parent
        return False


def _is_stored(node: ast.Name) -> bool:
    return isinstance(node.ctx, ast.Store)


def _is_then(call: ast.Call, child: ast.AST) -> bool:
    """Whether ``child`` is the ``then`` of a Persist: its second argument, or the keyword."""
    if dotted(call.func) != "Persist":
        return False
    in_second = len(call.args) > 1 and call.args[1] is child
    return in_second or any(each is child and each.arg == "then" for each in call.keywords)


def _grows_a_name(call: ast.Call, child: ast.AST) -> bool:
    """Whether the call is ``name.append(child)`` or ``name.extend(child)``."""
    name, _, method = dotted(call.func).partition(".")
    return bool(name) and method in {"append", "extend"} and child in call.args


def makers_offences(source: Source) -> list[str]:
    """Return every vote made in a module that neither decides on one nor tests one."""
    if source.module.startswith(("paxos.core.", *MAKERS)):
        return []
    return [
        source.offence(node, f"makes a {dotted(node.func)}")
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call) and dotted(node.func).rpartition(".")[2] in VOTES
    ]


@pytest.mark.parametrize("module", TIMELESS)
def test_acceptor_and_learner_signatures_take_no_time(module: str) -> None:
    (source,) = load_below(module)
    assert time_offences(source) == []


def test_votes_in_the_core_leave_only_behind_a_write() -> None:
    sources = load_below("paxos.core")
    made = {name for source in sources for name in _votes_made(source)}
    assert made == VOTES
    assert VoteFlow(sources).offences() == []


def test_votes_outside_the_core_are_made_by_nobody_but_the_codec_and_tests() -> None:
    assert [text for source in load(*PRODUCT) for text in makers_offences(source)] == []


def _votes_made(source: Source) -> set[str]:
    calls = (node for node in ast.walk(source.tree) if isinstance(node, ast.Call))
    return {name for call in calls if (name := dotted(call.func)) in VOTES}


@pytest.mark.parametrize(
    "text",
    [
        "def handle(self, now: float): ...",
        "def handle(self, at: Instant): ...",
        "def handle(self, *, lease_timeout: float): ...",
        "class A:\n    def handle(self, deadline): ...",
    ],
)
def test_times_in_a_signature_are_offences(text: str) -> None:
    assert len(time_offences(snippet(text))) == 1


@pytest.mark.parametrize(
    "text",
    [
        "def f(): send(Accepted(1))",
        "def f(): return [Send(2, x) for x in g(Promise(1))], None\ndef h(): send(f())",
        "def f():\n    message = Promise(1)\n    send(message)",
        "def f():\n    out = []\n    out.append(Send(1, Accepted(1)))\n    send(out)",
        "def f(): send(Persist((Accepted(1),), ()))",
        "def f(): send(Persist(records=Accepted(1), then=()))",
        "def f(self): self.kept = Prepare(1)",
        "def f(self): return Prepare(1)\ndef g(self): send(self.f())",
        "def f():\n    message = Promise(1)\n    other = message\n    send(other)",
    ],
)
def test_votes_that_leave_without_a_write_are_offences(text: str) -> None:
    assert VoteFlow([snippet(text)]).offences()


@pytest.mark.parametrize(
    "text",
    [
        "def f(): send(Persist((r,), (Send(1, Accepted(1)),)))",
        "def f(): return [Persist((), then=tuple(Send(v, Prepare(1)) for v in w))]",
        "def f():\n    then = (Send(1, Accepted(1)),)\n    return [Persist((), then)]",
        (
            "def f():\n    then = []\n    for v in w:\n        then.append(Send(v, Prepare(1)))\n"
            "    return [Persist((), tuple(then))]"
        ),
        "def f(self): return Prepare(1)\ndef g(self): return [Persist((r,), (Send(1, self.f()),))]",
        "def f(message):\n    if isinstance(message, Accepted): pass",
    ],
)
def test_votes_behind_a_write_are_no_offences(text: str) -> None:
    assert VoteFlow([snippet(text)]).offences() == []


def test_votes_made_in_the_shell_are_offences() -> None:
    assert makers_offences(snippet("x = messages.Promise(1)", "paxos.runtime.node"))
