"""Habits that a reader would otherwise have to check by eye, in every file of the tree.

What bytes may do to us (no pickle, no eval), how long a function gets, what a file and a test are
called, what a bare assert is for, and that tests neither sleep nor are skipped without a reason.
"""

from __future__ import annotations

import ast
from collections.abc import Callable

import pytest

from tests.architecture.sources import EVERYTHING, PRODUCT, Source, dotted, functions, load, snippet

LINES_MAX = 70
DANGEROUS_MODULES = frozenset({"dill", "imp", "jsonpickle", "marshal", "pickle", "shelve"})
DANGEROUS_CALLS = frozenset({"__import__", "compile", "eval", "exec"})
EMPTY_WORDS = frozenset(
    {"common", "helper", "helpers", "manager", "managers", "misc", "util", "utils"}
)
SLEEPS = frozenset({"time.sleep", "trio.sleep", "trio.sleep_until", "asyncio.sleep", "sleep"})
SKIPS = frozenset({"skip", "skipif", "xfail"})


def danger_offences(source: Source) -> list[str]:
    """Return every import of a format that runs code, and every call that does."""
    offences = []
    for node in ast.walk(source.tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        elif isinstance(node, ast.Call) and dotted(node.func) in DANGEROUS_CALLS:
            offences.append(source.offence(node, f"calls {dotted(node.func)}()"))
        offences += [
            source.offence(node, f"imports {name}")
            for name in names
            if name.partition(".")[0] in DANGEROUS_MODULES
        ]
    return offences


def length_offences(source: Source) -> list[str]:
    """Return every function over the limit; its docstring is not counted."""
    offences = []
    for function in functions(source.tree):
        lines = (function.end_lineno or function.lineno) - function.lineno + 1
        first = function.body[0]
        if ast.get_docstring(function, clean=False) is not None:
            lines -= (first.end_lineno or first.lineno) - first.lineno + 1
        if lines > LINES_MAX:
            offences.append(source.offence(function, f"{function.name} has {lines} lines"))
    return offences


def module_name_offences(source: Source) -> list[str]:
    """Return the module's name if it says nothing about its content."""
    words = {word for part in source.module.split(".") for word in part.split("_")}
    return [source.offence(source.tree, f"is named {word}") for word in words & EMPTY_WORDS]


def assert_offences(source: Source) -> list[str]:
    """Return every assert that does more than narrow a type: ``python -O`` would drop it."""
    return [
        source.offence(node, f"asserts {ast.unparse(node.test)}; use ensure()")
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Assert) and not _narrows(node.test)
    ]


def _narrows(test: ast.expr) -> bool:
    if isinstance(test, ast.Call):
        return dotted(test.func) == "isinstance"
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
        return all(_narrows(each) for each in test.values)
    return (
        isinstance(test, ast.Compare)
        and isinstance(test.ops[0], ast.Is | ast.IsNot)
        and isinstance(test.comparators[0], ast.Constant)
        and test.comparators[0].value is None
    )


def sleep_offences(source: Source) -> list[str]:
    """Return every sleep: a test waits for a condition, or on virtual time."""
    return [
        source.offence(node, f"calls {dotted(node.func)}()")
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call) and dotted(node.func) in SLEEPS
    ]


def skip_offences(source: Source) -> list[str]:
    """Return every skip or expected failure that does not say why."""
    offences = []
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute) and dotted(node).startswith("pytest.mark."):
            if node.attr in SKIPS and not _has_reason(source.tree, node):
                offences.append(source.offence(node, f"{node.attr} without a reason"))
        elif isinstance(node, ast.Call):
            name, said = dotted(node.func), node.args or _keyword(node, "reason")
            if name in {"pytest.skip", "pytest.xfail"} and not said:
                offences.append(source.offence(node, f"{name}() without a reason"))
    return offences


def _has_reason(tree: ast.Module, mark: ast.Attribute) -> bool:
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    return any(call.func is mark and _keyword(call, "reason") for call in calls)


def _keyword(call: ast.Call, name: str) -> bool:
    return any(
        each.arg == name and not (isinstance(each.value, ast.Constant) and not each.value.value)
        for each in call.keywords
    )


def naming_offences(source: Source) -> list[str]:
    """Return every test whose name cannot hold a subject, a situation and an outcome."""
    return [
        source.offence(function, f"{function.name}: test_<subject>_<situation>_<outcome>")
        for function in functions(source.tree)
        if function.name.startswith("test_") and len(function.name.split("_")) < 4
    ]


RULES: dict[Callable[[Source], list[str]], tuple[str, ...]] = {
    danger_offences: EVERYTHING,
    length_offences: EVERYTHING,
    module_name_offences: EVERYTHING,
    # The conformance suites we ship assert, as the tests of their users do.
    assert_offences: PRODUCT,
    sleep_offences: ("tests",),
    skip_offences: ("tests",),
    naming_offences: ("tests",),
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_tree_under_each_rule_has_no_offences(rule: Callable[[Source], list[str]]) -> None:
    assert [text for source in load(*RULES[rule]) for text in rule(source)] == []


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (danger_offences, "import pickle"),
        (danger_offences, "from marshal import loads"),
        (danger_offences, "def f():\n    import shelve"),
        (danger_offences, "eval('1')"),
        (danger_offences, "__import__('os')"),
        (length_offences, "def f():\n" + "    x = 1\n" * 70),
        (length_offences, "async def f():\n" + "    x = 1\n" * 70),
        (assert_offences, "assert x > 1"),
        (assert_offences, "assert isinstance(x, int) and x > 1"),
        (sleep_offences, "time.sleep(1)"),
        (sleep_offences, "async def f(): await trio.sleep(0.1)"),
        (skip_offences, "@pytest.mark.skip\ndef test_a(): ..."),
        (skip_offences, "@pytest.mark.xfail(strict=True)\ndef test_a(): ..."),
        (skip_offences, "@pytest.mark.skipif(x, reason='')\ndef test_a(): ..."),
        (skip_offences, "pytest.skip()"),
        (naming_offences, "def test_acceptor(): ..."),
        (naming_offences, "async def test_acceptor_promises(): ..."),
    ],
)
def test_snippet_against_a_rule_is_an_offence(
    rule: Callable[[Source], list[str]], text: str
) -> None:
    assert len(rule(snippet(text))) == 1


@pytest.mark.parametrize("module", ["paxos.util", "paxos.core.slot_helpers", "paxos.manager.x"])
def test_module_named_after_nothing_is_an_offence(module: str) -> None:
    assert len(module_name_offences(snippet("", module))) == 1


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (danger_offences, "import json\nre.compile('x')"),
        (length_offences, "def f():\n" + "    x = 1\n" * 69),
        (length_offences, "def f():\n    '''a" + "\n" * 80 + "'''\n    x = 1"),
        (module_name_offences, "import util"),
        (assert_offences, "assert x is not None\nassert isinstance(y, int)"),
        (sleep_offences, "trio.sleep_forever()"),
        (skip_offences, "@pytest.mark.skipif(x, reason='no disk')\ndef test_a(): ..."),
        (skip_offences, "pytest.skip('no disk')"),
        (naming_offences, "def test_acceptor_asked_twice_promises(): ..."),
    ],
)
def test_snippet_within_a_rule_is_no_offence(
    rule: Callable[[Source], list[str]], text: str
) -> None:
    assert rule(snippet(text)) == []
