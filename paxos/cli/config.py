"""``paxos config``: the replicated configuration, one command per thing one can do with it.

Only translates: arguments to requests of ``statemachines.edge_config_client``, answers to lines.
Whether something may be done is decided by the state machine, and how a request that was not done
is told (message, exit status, ``outcome``) by ``changes`` here and ``connect``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal, get_args

import click

from paxos.cli.connect import open_client, run
from paxos.cli.exits import CommandError, Exit
from paxos.cli.options import Target, client_options
from paxos.cli.output import print_json, print_table, value_fields, value_text, warn
from paxos.cli.teaching import TaughtGroup
from paxos.cli.transaction_document import parse_transaction
from statemachines.edge_config_client import (
    CompareAndSetResult,
    EdgeConfigClient,
    Event,
    KeySummary,
    KeyValue,
    Level,
    PutResult,
    TransactionResult,
)
from statemachines.edge_config_document import export_document, parse_document
from statemachines.edge_config_format import BYTES, TEXT

Outcome = Literal["done", "condition_false", "absent", "refused", "unknown", "unreachable"]
"""How a change ended, as ``--json`` says it."""

_NOT_DONE: dict[int, Outcome] = {
    Exit.REFUSED: "refused",
    Exit.UNKNOWN: "unknown",
    Exit.UNREACHABLE: "unreachable",
}

TAKE_IF_FREE = (
    """echo '{"if": [{"key": "owner", "absent": true}],"""
    """ "then": [{"put": "owner", "value": "me"}], "else": [{"get": "owner"}]}'"""
    " | paxos config txn -"
)

GROUP_EXAMPLES = [
    ("change a key", "paxos config put site-7/cam-3/fps 25"),
    ("read it back", "paxos config get site-7/cam-3/fps"),
    ("everything below a prefix", "paxos config list site-7/"),
]


@click.group(cls=TaughtGroup, examples=GROUP_EXAMPLES)
def config() -> None:
    """Read, change and watch the replicated configuration.

    Keys are paths like site-7/cam-3/fps, values are text, JSON or any bytes. Every change has a
    revision, one higher than the one before, over all keys. Reads are linearizable unless
    --level says otherwise.
    """


# --- options that several of the commands share ---------------------------------------------------


def store_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command its ``Target`` and the name of the state machine."""
    machine = click.option(
        "--machine",
        default="config",
        show_default=True,
        metavar="NAME",
        help="Which of the cluster's edge configurations.",
    )
    return machine(client_options(command))


def level_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--level``."""
    return click.option(
        "--level",
        type=click.Choice(get_args(Level)),
        default="linearizable",
        show_default=True,
        help="How fresh the answer must be; local asks no quorum and may be old.",
    )(command)


def at_revision_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--at-revision``."""
    return click.option(
        "--at-revision",
        type=click.IntRange(min=0),
        metavar="REVISION",
        help="Read as of this revision, as long as it is kept.",
    )(command)


@asynccontextmanager
async def open_store(target: Target, machine: str) -> AsyncIterator[EdgeConfigClient]:
    """Run a client of the configuration inside the context."""
    async with open_client(target) as client:
        yield EdgeConfigClient(client, machine)


# --- changes --------------------------------------------------------------------------------------


@contextmanager
def changes(target: Target) -> Iterator[None]:
    """Under ``--json``, tell also a change that was not done as an object, then fail as usual."""
    try:
        yield
    except CommandError as error:
        if target.json and error.exit_code in _NOT_DONE:
            outcome = _NOT_DONE[error.exit_code]
            print_json(
                {"outcome": outcome, "revision": None, "slot": None, "reason": error.message}
            )
        raise


def tell_change(
    target: Target, outcome: Outcome, revision: int, slot: int, text: str, **more: Any
) -> None:
    """Print how a change ended; end with status 1 unless it was done."""
    if target.json:
        print_json({"outcome": outcome, "revision": revision, "slot": slot} | more)
    elif outcome == "done":
        click.echo(f"{text} (revision {revision})")
    else:
        warn(text)
    if outcome != "done":
        sys.exit(Exit.REFUSED)


@config.command(
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
    ]
)
@store_options
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


@config.command(examples=[("delete a key", "paxos config delete site-7/cam-3/fps")])
@store_options
@click.argument("key")
def delete(target: Target, *, machine: str, key: str) -> None:
    """Delete KEY. If there is no such key, the exit status is 1."""

    async def act() -> Any:
        async with open_store(target, machine) as store:
            return await store.delete(key)

    with changes(target):
        result = run(act)
    if not result.deleted:
        text = f"there is no key {key}; nothing was changed"
        tell_change(target, "absent", result.revision, result.slot, text)
    tell_change(target, "done", result.revision, result.slot, f"deleted {key}")


@config.command(
    examples=[
        (
            "take a key only if it is free, else read who has it",
            TAKE_IF_FREE,
        ),
        ("from a file", "paxos config txn roll-out.json"),
    ]
)
@store_options
@click.argument("file", type=click.File("rb"))
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
    return _item_fields(result) if isinstance(result, KeyValue) else result


@config.command(
    "import",
    examples=[
        ("a document of keys and values", "paxos config import fleet.json"),
        ("copy a cluster", "paxos config export | paxos config import - --config other.toml"),
    ],
)
@store_options
@click.argument("file", type=click.File("rb"))
def import_(target: Target, *, machine: str, file: BinaryIO) -> None:
    """Write every key of the JSON document in FILE (- is standard input).

    Nested objects are paths: {"site-7": {"cam-3": {"fps": 25}}} is the key site-7/cam-3/fps with
    the JSON value 25. What that cannot say is {"$json": ...}, {"$text": "..."} or
    {"$base64": "..."}, the last two perhaps with "$content_type".

    The whole document is checked before anything is sent; a large one takes several transactions.
    To import it again is safe.
    """

    async def act() -> Any:
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


@config.command(
    examples=[
        ("forget what is older than revision 900", "paxos config compact 900"),
        ("keep the last 500 revisions from now on", "paxos config compact --keep 500"),
    ]
)
@store_options
@click.argument("revision", type=click.IntRange(min=0), required=False)
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    metavar="N",
    help="Keep the last N revisions from now on, instead of compacting once.",
)
def compact(target: Target, *, machine: str, revision: int | None, keep: int | None) -> None:
    """Forget the history before REVISION, on every replica.

    Reads at, and watches from, an older revision are refused afterwards. The present value of
    every key stays, whatever its age; a deleted key leaves nothing.
    """
    if (revision is None) == (keep is None):
        raise click.UsageError("give a REVISION or --keep, one of the two")

    async def act() -> Any:
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


# --- reads ----------------------------------------------------------------------------------------


@config.command(
    examples=[
        ("the value, as text", "paxos config get site-7/cam-3/fps"),
        ("exactly the value's bytes", "paxos config get site-7/logo --raw > logo.png"),
        ("as it was at revision 4", "paxos config get site-7/cam-3/fps --at-revision 4"),
        ("for a script", "paxos config get site-7/cam-3/fps --json"),
    ]
)
@store_options
@level_option
@at_revision_option
@click.argument("key")
@click.option("--raw", is_flag=True, help="Print the value's bytes and nothing else.")
def get(
    target: Target, *, machine: str, key: str, level: Level, at_revision: int | None, raw: bool
) -> None:
    """Print the value of KEY. If there is no such key, the exit status is 1.

    Under --json, "revision" is that of the key's last change (0: absent), which is what
    `put --if-revision` compares.
    """
    if raw and target.json:
        raise click.UsageError("give --raw or --json, not both")

    async def act() -> Any:
        async with open_store(target, machine) as store:
            return await store.get(key, at_revision, level)

    result = run(act)
    item: KeyValue | None = result.item
    if target.json:
        print_json(_get_fields(key, item) | {"slot": result.slot})
    elif item is not None and raw:
        sys.stdout.buffer.write(item.value)
    elif item is not None:
        click.echo(value_text(item.value))
    if item is None:
        raise CommandError(Exit.REFUSED, f"there is no key {key}")


def _get_fields(key: str, item: KeyValue | None) -> dict[str, Any]:
    if item is None:
        return {"key": key, "value": None, "content_type": None, "revision": 0}
    return _item_fields(item)


def _item_fields(item: KeyValue) -> dict[str, Any]:
    return {
        "key": item.key,
        **value_fields(item.value),
        "content_type": item.content_type,
        "revision": item.mod_revision,
    }


@config.command(
    "list",
    examples=[
        ("every key below a prefix", "paxos config list site-7/"),
        ("the names only, as they were at revision 4", "paxos config list -k --at-revision 4"),
        ("a range, for a script", "paxos config list --start site-3 --stop site-5 --json"),
    ],
)
@store_options
@level_option
@at_revision_option
@click.argument("prefix", default="")
@click.option("--start", default="", metavar="KEY", help="The first key to list.")
@click.option("--stop", metavar="KEY", help="The first key not to list.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="List at most N keys.")
@click.option("-k", "--keys-only", is_flag=True, help="List the keys without their values.")
def list_(
    target: Target,
    *,
    machine: str,
    prefix: str,
    level: Level,
    at_revision: int | None,
    start: str,
    stop: str | None,
    limit: int | None,
    keys_only: bool,
) -> None:
    """List the keys that begin with PREFIX, in order, all as of one revision.

    End a prefix with a slash to keep to a subtree: site-7/ leaves out site-70/.
    """
    asked = {"stop": stop, "limit": limit, "revision": at_revision}

    async def act() -> None:
        async with open_store(target, machine) as store:
            page = store.summary_page if keys_only else store.page
            async for item, slot in _pages(page, prefix, start, level, asked):
                _print_item(target, item, slot)

    run(act)


async def _pages(
    page: Callable[..., Any], prefix: str, start: str, level: Level, asked: dict[str, Any]
) -> AsyncIterator[tuple[KeyValue | KeySummary, int]]:
    """Yield (item, slot) over all pages, the first of which fixes the revision."""
    left = asked["limit"]
    while True:
        answer = await page(prefix, start=start, level=level, **asked)
        for item in answer.items:
            yield item, answer.slot
        if left is not None:
            left -= len(answer.items)
        if answer.next_key is None or left == 0:
            return
        start = answer.next_key
        asked = asked | {"limit": left, "revision": answer.revision}
        # An old revision is the same wherever it is: no quorum need be asked again.
        level = "local" if level == "local" else "session"


def _print_item(target: Target, item: KeyValue | KeySummary, slot: int) -> None:
    if isinstance(item, KeyValue):
        if target.json:
            print_json(_item_fields(item) | {"slot": slot})
        else:
            click.echo(f"{item.key} = {value_text(item.value)}")
    elif target.json:
        revision = item.mod_revision
        size = {"size": item.size, "content_type": item.content_type}
        print_json({"key": item.key, **size, "revision": revision, "slot": slot})
    else:
        click.echo(item.key)


@config.command(examples=[("every kept change of a key", "paxos config history site-7/cam-3/fps")])
@store_options
@level_option
@click.argument("key")
@click.option(
    "--after",
    type=click.IntRange(min=0),
    default=0,
    metavar="REVISION",
    help="Only changes after this revision.",
)
def history(target: Target, *, machine: str, key: str, level: Level, after: int) -> None:
    """Show every kept change of KEY, oldest first. If there is none, the exit status is 1."""

    async def act() -> list[Event]:
        found: list[Event] = []
        start: int | None = after
        async with open_store(target, machine) as store:
            while start is not None:
                page = await store.history(key, start, level=level)
                found += page.events
                start = page.next_after
        return found

    events = run(act)
    if target.json:
        for event in events:
            print_json(_event_fields(event))
    elif events:
        rows = [(str(one.revision), one.type, value_text(one.value)) for one in events]
        print_table(("revision", "change", "value"), rows, key)
    if not events:
        raise CommandError(Exit.REFUSED, f"no change of {key} is kept")


@config.command(
    examples=[
        ("everything, from now on", "paxos config watch"),
        ("one site, from a revision on", "paxos config watch site-7/ --from-revision 12"),
        ("the next change of one key, for a script", "paxos config watch k --exact --events 1"),
    ]
)
@store_options
@click.argument("prefix", default="")
@click.option(
    "--from-revision",
    type=click.IntRange(min=1),
    metavar="REVISION",
    help="The first revision to show. Default: the next one.",
)
@click.option("--exact", is_flag=True, help="Watch the one key PREFIX, not what begins with it.")
@click.option(
    "--events",
    type=click.IntRange(min=1),
    metavar="N",
    help="End once N changes were shown; changes of one revision are never split.",
)
def watch(
    target: Target,
    *,
    machine: str,
    prefix: str,
    from_revision: int | None,
    exact: bool,
    events: int | None,
) -> None:
    """Show every change of the keys that begin with PREFIX, in order, as it happens.

    Goes on until it is interrupted, over the loss of any replica, without a gap or a repeat.
    --timeout is for the first answer. A revision that was compacted is refused with status 1.
    """

    async def act() -> None:
        async with open_store(target, machine) as store:
            # Also finds out, within the timeout, whether there is anybody to ask.
            after = (await store.stats()).revision
            if from_revision is not None:
                after = from_revision - 1
            shown = last = 0
            async for batch in store.watch_batches(prefix, after=after, exact=exact):
                for event in batch.events:
                    if events is not None and shown >= events and event.revision > last:
                        return
                    _print_event(target, event)
                    shown, last = shown + 1, event.revision
                if events is not None and shown >= events:
                    return

    run(act)


def _print_event(target: Target, event: Event) -> None:
    if target.json:
        print_json(_event_fields(event))
    else:
        text = "" if event.value is None else f" = {value_text(event.value)}"
        click.echo(f"{event.revision}  {event.type}  {event.key}{text}")
        sys.stdout.flush()


def _event_fields(event: Event) -> dict[str, Any]:
    fields: dict[str, Any] = {"revision": event.revision, "type": event.type, "key": event.key}
    return fields | value_fields(event.value) | {"content_type": event.content_type or None}


@config.command(
    examples=[
        ("everything, on standard output", "paxos config export"),
        ("one site, into a file", "paxos config export site-7/ --output site-7.json"),
    ]
)
@store_options
@level_option
@at_revision_option
@click.argument("prefix", default="")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write to FILE instead of standard output.",
)
def export(
    target: Target,
    *,
    machine: str,
    prefix: str,
    level: Level,
    at_revision: int | None,
    output: Path | None,
) -> None:
    """Write all keys that begin with PREFIX as one JSON document that `import` reads.

    Importing it gives the same keys with the same bytes and content types.
    """

    async def act() -> list[KeyValue]:
        async with open_store(target, machine) as store:
            return [one async for one in store.items(prefix, revision=at_revision, level=level)]

    document = export_document(run(act))
    text = json.dumps(document, ensure_ascii=False, indent=None if target.json else 2) + "\n"
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandError(Exit.USAGE, f"{output}: cannot be written: {error}") from error
    warn(f"{len(document)} keys written to {output}")


# --- what is typed --------------------------------------------------------------------------------


def _argument_bytes(text: str) -> bytes:
    # Bytes that are not UTF-8 arrive as lone surrogates; this gives them back as they were typed.
    return text.encode("utf-8", "surrogateescape")


def _usual_type(data: bytes) -> str:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return BYTES
    return TEXT
