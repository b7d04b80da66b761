"""The ``paxos config`` commands that change something: each ends with an outcome.

How an outcome is told is decided in ``outcomes``, and whether a change may be done by the state
machine.
"""

from __future__ import annotations

import json
from typing import Any, BinaryIO

import click

from paxos.cli.config_store import item_fields, open_store, store_options
from paxos.cli.connect import run
from paxos.cli.options import Target
from paxos.cli.outcomes import Outcome, changes, tell_change
from paxos.cli.output import print_json
from paxos.cli.teaching import TaughtCommand
from paxos.cli.transaction_document import parse_transaction
from statemachines.edge_config_client import (
    CompareAndSetResult,
    DeleteResult,
    ImportResult,
    KeyValue,
    PutResult,
    RetentionResult,
    TransactionResult,
)
from statemachines.edge_config_document import parse_document
from statemachines.edge_config_format import BYTES, TEXT

TAKE_IF_FREE = (
    """echo '{"if": [{"key": "owner", "absent": true}],"""
    """ "then": [{"put": "owner", "value": "me"}], "else": [{"get": "owner"}]}'"""
    " | paxos config txn -"
)


@click.command(
    cls=TaughtCommand,
    examples=[
        ("a text", "paxos config put site-7/cam-3/fps 25"),
        (
            "a JSON document, checked before it is sent",
            "paxos config put site-7/cam-3/roi '[0,0,640,480]' --content-type application/json",
        ),
        ("any bytes, from a file", "paxos config put site-7/logo --file logo.png"),
        (
            "only if nobody changed it since you read it at revision 4",
            "paxos config put site-7/cam-3/fps 30 --if-revision 4",
        ),
        ("only if it is new", "paxos config put site-7/owner alice --if-absent"),
    ],
)
@click.argument("key")
@click.argument("value", required=False)
@click.option(
    "--file",
    "file",
    type=click.File("rb"),
    metavar="FILE",
    help="Take the value from a file; - is standard input.",
)
@click.option(
    "--content-type",
    metavar="TYPE",
    help=f"Type of the value. Default: {TEXT}, or {BYTES} if it is not UTF-8.",
)
@click.option(
    "--if-revision",
    type=click.IntRange(min=0),
    metavar="REVISION",
    help="Only if the key's last change has this revision (0: the key is absent).",
)
@click.option("--if-value", metavar="TEXT", help="Only if the key has this value.")
@click.option("--if-absent", is_flag=True, help="Only if there is no such key.")
@store_options
def put(
    target: Target,
    *,
    machine: str,
    key: str,
    value: str | None,
    file: BinaryIO | None,
    content_type: str | None,
    if_revision: int | None,
    if_value: str | None,
    if_absent: bool,
) -> None:
    """Write VALUE to KEY.

    With one of the --if options it is a compare-and-set: if the condition is false, nothing is
    changed and the exit status is 1.
    """
    if (value is None) == (file is None):
        raise click.UsageError("give a VALUE or --file, one of the two")
    conditions = [if_revision is not None, if_value is not None, if_absent]
    if sum(conditions) > 1:
        raise click.UsageError("give at most one of --if-revision, --if-value and --if-absent")
    data = b"" if value is None else _argument_bytes(value)
    if file is not None:
        data = file.read()
    kind = content_type or _usual_type(data)
    expected: int | bytes | None = if_revision
    if if_value is not None:
        expected = _argument_bytes(if_value)

    async def act() -> PutResult | CompareAndSetResult:
        async with open_store(target, machine) as store:
            if any(conditions):
                return await store.compare_and_set(key, expected, data, kind)
            return await store.put(key, data, kind)

    with changes(target):
        result = run(act)
    if isinstance(result, CompareAndSetResult) and not result.succeeded:
        now = "absent" if result.current is None else f"at revision {result.current.mod_revision}"
        text = f"the condition is false: {key} is {now}; nothing was changed"
        tell_change(target, "condition_false", result.revision, result.slot, text)
    tell_change(target, "done", result.revision, result.slot, f"put {key}")


@click.command(
    cls=TaughtCommand, examples=[("delete a key", "paxos config delete site-7/cam-3/fps")]
)
@click.argument("key")
@store_options
def delete(target: Target, *, machine: str, key: str) -> None:
    """Delete KEY. If there is no such key, the exit status is 1."""

    async def act() -> DeleteResult:
        async with open_store(target, machine) as store:
            return await store.delete(key)

    with changes(target):
        result = run(act)
    if not result.deleted:
        text = f"there is no key {key}; nothing was changed"
        tell_change(target, "absent", result.revision, result.slot, text)
    tell_change(target, "done", result.revision, result.slot, f"deleted {key}")


@click.command(
    cls=TaughtCommand,
    examples=[
        (
            "take a key only if it is free, else read who has it",
            TAKE_IF_FREE,
        ),
        ("from a file", "paxos config txn roll-out.json"),
    ],
)
@click.argument("file", type=click.File("rb"))
@store_options
def txn(target: Target, *, machine: str, file: BinaryIO) -> None:
    """Run the transaction in FILE (- is standard input): conditions, then, else.

    FILE holds a JSON object. If all conditions in "if" hold, the operations in "then" run, else
    those in "else"; either all of them at one revision, or none. If the conditions are false the
    exit status is 1, even though "else" ran.

    A condition is {"key": K} with one of "value", "value_base64", "absent", "revision",
    "created", "version", and "comparison" (==, !=, <, >; default ==). An operation is {"put": K}
    with "value", "value_base64" or "json" and perhaps "content_type"; {"delete": K}; {"get": K}.
    """

    async def act() -> TransactionResult:
        transaction = parse_transaction(file.read())
        async with open_store(target, machine) as store:
            return await store.transaction(*transaction)

    with changes(target):
        result = run(act)
    results = [_transaction_result(one) for one in result.results]
    outcome: Outcome = "done" if result.succeeded else "condition_false"
    if not target.json:
        for one in results:
            click.echo(json.dumps(one, ensure_ascii=False))
    text = "the transaction is done" if result.succeeded else 'a condition is false: "else" ran'
    tell_change(target, outcome, result.revision, result.slot, text, results=results)


def _transaction_result(result: KeyValue | bool | None) -> Any:
    return item_fields(result) if isinstance(result, KeyValue) else result


@click.command(
    "import",
    cls=TaughtCommand,
    examples=[
        ("a document of keys and values", "paxos config import fleet.json"),
        ("copy a cluster", "paxos config export | paxos config import - --config other.toml"),
    ],
)
@click.argument("file", type=click.File("rb"))
@store_options
def import_(target: Target, *, machine: str, file: BinaryIO) -> None:
    """Write every key of the JSON document in FILE (- is standard input).

    Nested objects are paths: {"site-7": {"cam-3": {"fps": 25}}} is the key site-7/cam-3/fps with
    the JSON value 25. What that cannot say is {"$json": ...}, {"$text": "..."} or
    {"$base64": "..."}, the last two perhaps with "$content_type".

    The whole document is checked before anything is sent; a large one takes several transactions.
    To import it again is safe.
    """

    async def act() -> ImportResult:
        entries = parse_document(file.read())
        async with open_store(target, machine) as store:
            return await store.import_entries(entries)

    with changes(target):
        result = run(act)
    tell_change(
        target,
        "done",
        result.revision,
        result.slot,
        f"imported {result.entries} keys",
        entries=result.entries,
    )


@click.command(
    cls=TaughtCommand,
    examples=[
        ("forget what is older than revision 900", "paxos config compact 900"),
        ("keep the last 500 revisions from now on", "paxos config compact --keep 500"),
    ],
)
@click.argument("revision", type=click.IntRange(min=0), required=False)
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    metavar="N",
    help="Keep the last N revisions from now on, instead of compacting once.",
)
@store_options
def compact(target: Target, *, machine: str, revision: int | None, keep: int | None) -> None:
    """Forget the history before REVISION, on every replica.

    Reads at, and watches from, an older revision are refused afterwards. The present value of
    every key stays, whatever its age; a deleted key leaves nothing.
    """
    if (revision is None) == (keep is None):
        raise click.UsageError("give a REVISION or --keep, one of the two")

    async def act() -> RetentionResult:
        async with open_store(target, machine) as store:
            if keep is not None:
                return await store.retain(keep)
            assert revision is not None
            return await store.compact(revision)

    with changes(target):
        result = run(act)
    oldest = result.oldest_revision
    if target.json:
        print_json({"outcome": "done", "oldest_revision": oldest, "slot": result.slot})
    else:
        click.echo(f"the oldest revision that can be read is {oldest}")


def _argument_bytes(text: str) -> bytes:
    # Bytes that are not UTF-8 arrive as lone surrogates; this gives them back as they were typed.
    return text.encode("utf-8", "surrogateescape")


def _usual_type(data: bytes) -> str:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return BYTES
    return TEXT
