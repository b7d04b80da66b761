"""What must give the same answer everywhere may not name what differs (invariant I15).

That is the core, the simulator and the state machines: no clock, no global randomness, no identity
of objects, no hash of a text (PYTHONHASHSEED changes it), and no walk over a bare set, whose order
is that of hashes. A generator passed in (``random.Random``) and ``sorted(...)`` are the ways out.

The set rule is a heuristic on syntax: a value is a set if it is written as one, if the name, the
attribute or the function it comes from is annotated as one in these packages, or if it is an
operation on such. Membership, size, comparison and order-free reductions are free.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import pytest

from tests.architecture.sources import Source, dotted, functions, load_below, snippet

DETERMINISTIC = ("paxos.core", "jepsen_like.sim", "jepsen_like.workload", "statemachines")

BANNED_CALLS = frozenset({"hash", "id", "input", "open", "print"})
BANNED_NAMES = (
    "os.urandom",
    "os.getpid",
    "time.",
    "datetime.",
    "uuid.",
    "secrets.",
    "random.",
)
ALLOWED_NAMES = frozenset({"random.Random"})
ORDER_FREE = frozenset({"all", "any", "frozenset", "len", "max", "min", "set", "sorted", "sum"})
ORDERED = frozenset({"enumerate", "iter", "list", "map", "next", "reversed", "tuple", "zip"})
SET_TYPES = frozenset({"AbstractSet", "MutableSet", "Set", "frozenset", "set"})
SET_METHODS = frozenset({"copy", "difference", "intersection", "symmetric_difference", "union"})


def name_offences(source: Source) -> list[str]:
    """Return every clock, global generator, object identity and hash that ``source`` names."""
    offences = []
    hashers = {
        node
        for function in functions(source.tree)
        if function.name == "__hash__"
        for node in ast.walk(function)
    }
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and node not in hashers:
            name = dotted(node.func)
            if name in BANNED_CALLS:
                offences.append(source.offence(node, f"calls {name}()"))
        if isinstance(node, ast.Attribute):
            name = dotted(node)
            if name.startswith(BANNED_NAMES) and name not in ALLOWED_NAMES:
                offences.append(source.offence(node, f"names {name}"))
        if isinstance(node, ast.ImportFrom) and node.module in {"os", "random", "time", "uuid"}:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                if name.startswith(BANNED_NAMES) and name not in ALLOWED_NAMES:
                    offences.append(source.offence(node, f"imports {name}"))
    return offences


@dataclass
class SetNames:
    """Names that stand for sets: attributes and functions over all the given sources."""

    attributes: set[str] = field(default_factory=set)
    callables: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, sources: Iterable[Source]) -> SetNames:
        """Collect what is annotated as a set, less what is also annotated as something else."""
        found, otherwise = cls(), cls()
        for node in (node for source in sources for node in ast.walk(source.tree)):
            if isinstance(node, ast.AnnAssign):
                name = dotted(node.target).rpartition(".")[2]
                (found if is_set_type(node.annotation) else otherwise).attributes.add(name)
            elif isinstance(node, ast.FunctionDef):
                into = found if is_set_type(node.returns) else otherwise
                is_property = any(dotted(each) == "property" for each in node.decorator_list)
                (into.attributes if is_property else into.callables).add(node.name)
        return cls(found.attributes - otherwise.attributes, found.callables - otherwise.callables)


def is_set_type(annotation: ast.expr | None) -> bool:
    """Whether an annotation says set, a subscript of one, or either or None."""
    if isinstance(annotation, ast.Subscript):
        return is_set_type(annotation.value)
    if isinstance(annotation, ast.BinOp):
        return is_set_type(annotation.left) or is_set_type(annotation.right)
    return annotation is not None and dotted(annotation).rpartition(".")[2] in SET_TYPES


def set_offences(source: Source, names: SetNames) -> list[str]:
    """Return every place where ``source`` walks over a set in the set's own order."""
    walker = _SetWalker(source, names)
    walker.walk_scope(source.tree)
    return walker.offences


def _own_nodes(scope: ast.AST) -> Iterator[ast.AST]:
    """Yield what is in ``scope`` but not in a function inside it."""
    for node in ast.iter_child_nodes(scope):
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _own_nodes(node)


def _local_sets(scope: ast.AST, names: SetNames, outer: set[str]) -> set[str]:
    """Return the names in one scope that stand for sets; those of ``outer`` shine through."""
    local = set(outer)
    if isinstance(scope, ast.FunctionDef | ast.AsyncFunctionDef):
        arguments = scope.args
        every = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
        local -= {each.arg for each in every}
        local |= {each.arg for each in every if is_set_type(each.annotation)}
    for node in _own_nodes(scope):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            if is_set_type(node.annotation):
                local.add(node.target.id)
        elif isinstance(node, ast.Assign) and _is_set(node.value, names, local):
            local |= {each.id for each in node.targets if isinstance(each, ast.Name)}
    return local


def _is_set(node: ast.expr, names: SetNames, local: set[str]) -> bool:
    if isinstance(node, ast.Set | ast.SetComp):
        return True
    if isinstance(node, ast.Name):
        return node.id in local
    if isinstance(node, ast.Attribute):
        return node.attr in names.attributes
    if isinstance(node, ast.BinOp) and isinstance(
        node.op, ast.BitAnd | ast.BitOr | ast.BitXor | ast.Sub
    ):
        return _is_set(node.left, names, local) or _is_set(node.right, names, local)
    if isinstance(node, ast.IfExp):
        return _is_set(node.body, names, local) or _is_set(node.orelse, names, local)
    if isinstance(node, ast.Call):
        function = node.func
        if isinstance(function, ast.Name):
            return function.id in {"set", "frozenset"} or function.id in names.callables
        if isinstance(function, ast.Attribute):
            on_set = function.attr in SET_METHODS and _is_set(function.value, names, local)
            return on_set or function.attr in names.callables
    return False


class _SetWalker(ast.NodeVisitor):
    """Finds walks over sets; knows, in each scope, which names stand for one."""

    def __init__(self, source: Source, names: SetNames) -> None:
        self.offences: list[str] = []
        self._source = source
        self._names = names
        self._local: set[str] = set()

    def walk_scope(self, scope: ast.AST) -> None:
        """Visit what is in ``scope``, with its names."""
        outer = self._local
        self._local = _local_sets(scope, self._names, outer)
        self.generic_visit(scope)
        self._local = outer

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """A function is a scope of its own."""
        self.walk_scope(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        """A function is a scope of its own."""
        self.walk_scope(node)

    def visit_For(self, node: ast.For) -> None:
        """Reject ``for x in a_set``."""
        self._reject_if_set(node.iter, "for")
        self.generic_visit(node)

    def visit_Starred(self, node: ast.Starred) -> None:
        """Reject ``[*a_set]``."""
        self._reject_if_set(node.value, "unpacking")
        self.generic_visit(node)

    def visit_ListComp(self, node: ast.ListComp) -> None:
        """Reject ``[... for x in a_set]``."""
        self._reject_generators(node)

    def visit_DictComp(self, node: ast.DictComp) -> None:
        """Reject ``{...: ... for x in a_set}``: a dictionary keeps the order it was filled in."""
        self._reject_generators(node)

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> None:
        """Reject ``(... for x in a_set)`` unless its consumer does not care about order."""
        self._reject_generators(node)

    def visit_Call(self, node: ast.Call) -> None:
        """Let order-free reductions be; reject ``list(a_set)``, ``a_set.pop()``, ``join``."""
        name = node.func.attr if isinstance(node.func, ast.Attribute) else dotted(node.func)
        keyed = name in {"max", "min"} and any(each.arg == "key" for each in node.keywords)
        if name in ORDER_FREE and not keyed and isinstance(node.func, ast.Name):
            for argument in node.args:
                if isinstance(argument, ast.GeneratorExp | ast.ListComp):
                    self.visit(argument.elt)
                else:
                    self.visit(argument)
            return
        if name in ORDERED | {"extend", "fromkeys", "join"} or keyed:
            for argument in node.args:
                self._reject_if_set(argument, f"{name}()")
        if name == "pop" and isinstance(node.func, ast.Attribute):
            self._reject_if_set(node.func.value, "pop()")
        self.generic_visit(node)

    def _reject_generators(self, node: ast.ListComp | ast.DictComp | ast.GeneratorExp) -> None:
        for generator in node.generators:
            self._reject_if_set(generator.iter, "comprehension")
        self.generic_visit(node)

    def _reject_if_set(self, node: ast.expr, how: str) -> None:
        if _is_set(node, self._names, self._local):
            text = f"{how} over a set: {ast.unparse(node)}"
            self.offences.append(self._source.offence(node, text))


@pytest.mark.parametrize("package", DETERMINISTIC)
def test_names_in_deterministic_packages_hold_no_clock_randomness_or_hash(package: str) -> None:
    sources = load_below(package)
    assert sources
    assert [offence for source in sources for offence in name_offences(source)] == []


@pytest.mark.parametrize("package", DETERMINISTIC)
def test_sets_in_deterministic_packages_are_never_walked_in_their_own_order(package: str) -> None:
    sources = load_below(package)
    names = SetNames.of([*sources, *load_below("paxos.core")])
    assert [offence for source in sources for offence in set_offences(source, names)] == []


@pytest.mark.parametrize(
    "text",
    [
        "hash('a')",
        "id(x)",
        "t = time.monotonic()",
        "t = datetime.datetime.now",
        "x = random.random()",
        "rng = random.SystemRandom()",
        "from random import choice",
        "from os import urandom",
        "key = os.urandom(8)",
        "name = uuid.uuid4()",
    ],
)
def test_names_that_differ_between_runs_are_offences(text: str) -> None:
    assert name_offences(snippet(text))


@pytest.mark.parametrize(
    "text",
    [
        "def f(rng: random.Random): return rng.random()",
        "from random import Random",
        "class A:\n    def __hash__(self): return hash(self.number)",
        "x = self.time.start",
    ],
)
def test_names_that_only_look_alike_are_no_offences(text: str) -> None:
    assert name_offences(snippet(text)) == []


@pytest.mark.parametrize(
    "text",
    [
        "for x in {1, 2}: pass",
        "for x in set(y): pass",
        "z = [x for x in frozenset(y)]",
        "z = {x: 1 for x in {1, 2}}",
        "z = list({1, 2})",
        "z = tuple(x for x in {1, 2})",
        "z = [*{1, 2}]",
        "z = next(iter({1, 2}))",
        "z = ','.join({'a', 'b'})",
        "z = dict.fromkeys({1, 2})",
        "z = min({1, 2}, key=abs)",
        "def f(voters: frozenset[int]):\n    for x in voters: pass",
        "def f(voters: Set[int] | None):\n    for x in voters: pass",
        "def f():\n    seen = set()\n    return [x for x in seen]",
        "def f(a: set[int], b):\n    for x in a - b: pass",
        "def f(a: set[int]):\n    return a.pop()",
        "class A:\n    voters: frozenset[int]\ndef f(a):\n    for x in a.voters: pass",
        (
            "class A:\n    def f(self):\n        self.b: set[int] = set()\n"
            "    def g(self):\n        for x in self.b: pass"
        ),
        (
            "class A:\n    def voters(self) -> set[int]: ...\n"
            "    def g(self):\n        for x in self.voters(): pass"
        ),
        (
            "class A:\n    @property\n    def voters(self) -> set[int]: ...\n"
            "    def g(self):\n        for x in self.voters: pass"
        ),
        "async def f(a: set[int]):\n    for x in a: pass",
        "def f(a: set[int]):\n    def g():\n        b = {1}\n        for x in b: pass",
        "def f(a: set[int]):\n    def g():\n        for x in a: pass",
    ],
)
def test_sets_walked_in_their_own_order_are_offences(text: str) -> None:
    source = snippet(text)
    assert len(set_offences(source, SetNames.of([source]))) == 1


@pytest.mark.parametrize(
    "text",
    [
        "for x in sorted({1, 2}): pass",
        "z = sum(x for x in {1, 2})",
        "z = max({1, 2})",
        "z = {x + 1 for x in {1, 2}}",
        "z = all(x > 0 for x in {1, 2}) and 1 in {1, 2}",
        "def f(a: set[int], b: set[int]): return len(a & b) == 1",
        "for x in [1, 2]: pass",
        "for x in {1: 2}: pass",
        "def f(a: dict[int, set[int]]):\n    for x in a: pass",
        "def f():\n    a = {1}\ndef g(a):\n    for x in a: pass",
    ],
)
def test_sets_used_without_order_are_no_offences(text: str) -> None:
    source = snippet(text)
    assert set_offences(source, SetNames.of([source])) == []
