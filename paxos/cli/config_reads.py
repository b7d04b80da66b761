"""The ``paxos config`` commands that only look: answers become lines, in order, as they come."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import click

from paxos.cli.config_store import (
    at_revision_option,
    item_fields,
    level_option,
    open_store,
    store_options,
)
from paxos.cli.connect import run
from paxos.cli.exits import CommandError, Exit
from paxos.cli.options import Target
from paxos.cli.output import print_json, print_table, value_fields, value_text, warn
from paxos.cli.teaching import TaughtCommand
from statemachines.edge_config_client import Event, GetResult, KeySummary, KeyValue
from statemachines.edge_config_document import export_document
from statemachines.machine_client import Level


@click.command(
    cls=TaughtCommand,
    examples=[
        ("the value, as text", "paxos config get site-7/cam-3/fps"),
        ("exactly the value's bytes", "paxos config get site-7/logo --raw > logo.png"),
        ("as it was at revision 4", "paxos config get site-7/cam-3/fps --at-revision 4"),
        ("for a script", "paxos config get site-7/cam-3/fps --json"),
    ],
)
@level_option
@at_revision_option
@click.argument("key")
@click.option("--raw", is_flag=True, help="Print the value's bytes and nothing else.")
@store_options
def get(
    target: Target, *, machine: str, key: str, level: Level, at_revision: int | None, raw: bool
) -> None:
    """Print the value of KEY. If there is no such key, the exit status is 1.

    Under --json, "revision" is that of the key's last change (0: absent), which is what
    `put --if-revision` compares.
    """
    if raw and target.json:
        raise click.UsageError("give --raw or --json, not both")

    async def act() -> GetResult:
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
    return item_fields(item)


@click.command(
    "list",
    cls=TaughtCommand,
    examples=[
        ("every key below a prefix", "paxos config list site-7/"),
        ("the names only, as they were at revision 4", "paxos config list -k --at-revision 4"),
        ("a range, for a script", "paxos config list --start site-3 --stop site-5 --json"),
    ],
)
@level_option
@at_revision_option
@click.argument("prefix", default="")
@click.option("--start", default="", metavar="KEY", help="The first key to list.")
@click.option("--stop", metavar="KEY", help="The first key not to list.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="List at most N keys.")
@click.option("-k", "--keys-only", is_flag=True, help="List the keys without their values.")
@store_options
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
            print_json(item_fields(item) | {"slot": slot})
        else:
            click.echo(f"{item.key} = {value_text(item.value)}")
    elif target.json:
        revision = item.mod_revision
        size = {"size": item.size, "content_type": item.content_type}
        print_json({"key": item.key, **size, "revision": revision, "slot": slot})
    else:
        click.echo(item.key)


@click.command(
    cls=TaughtCommand,
    examples=[("every kept change of a key", "paxos config history site-7/cam-3/fps")],
)
@level_option
@click.argument("key")
@click.option(
    "--after",
    type=click.IntRange(min=0),
    default=0,
    metavar="REVISION",
    help="Only changes after this revision.",
)
@store_options
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


@click.command(
    cls=TaughtCommand,
    examples=[
        ("everything, from now on", "paxos config watch"),
        ("one site, from a revision on", "paxos config watch site-7/ --from-revision 12"),
        ("the next change of one key, for a script", "paxos config watch k --exact --events 1"),
    ],
)
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
@store_options
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


@click.command(
    cls=TaughtCommand,
    examples=[
        ("everything, on standard output", "paxos config export"),
        ("one site, into a file", "paxos config export site-7/ --output site-7.json"),
    ],
)
@level_option
@at_revision_option
@click.argument("prefix", default="")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write to FILE instead of standard output.",
)
@store_options
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
