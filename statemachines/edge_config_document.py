"""Edge configuration as one JSON document: what is imported, and what is exported.

It owns the mapping between a document and entries, and nothing of clusters. It guards that an
export imported again gives the same keys with the same bytes and content types.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable
from typing import Any

from paxos.core.state_machine import CommandFailed
from statemachines.edge_config_client import KeyValue, Put, RequestInvalid, json_value
from statemachines.edge_config_format import BYTES, JSON, TEXT, check_key

_JSON_LITERAL = "$json"
_TEXT_LITERAL = "$text"
_BASE64_LITERAL = "$base64"
_CONTENT_TYPE = "$content_type"


def flatten(document: object) -> list[Put]:
    """Return the entries of a document, in order of their keys.

    Objects nest: each member adds a segment to the path, so that these two are the same, and may
    be mixed::

        {"site-7": {"cam-3": {"fps": 25, "model": "people-v4"}}}
        {"site-7/cam-3/fps": 25, "site-7/cam-3/model": "people-v4"}

    Everything but an object is a value, kept as JSON. What that cannot say is written as an object
    whose members begin with a dollar sign, anywhere but at the top:

    * ``{"$json": VALUE}``: JSON that is itself an object;
    * ``{"$text": "...", "$content_type": "text/plain"}``: text in UTF-8;
    * ``{"$base64": "...", "$content_type": "image/png"}``: any bytes.

    The content type may be left out (text/plain and application/octet-stream).

    Raises:
        RequestInvalid: The document is no object, a path is no key or comes twice, an object is
            empty, or one of the three forms above is not as it should be. The text names the path.
    """
    if not isinstance(document, dict):
        raise RequestInvalid("the document is not a JSON object of paths")
    entries: dict[str, Put] = {}
    pending: list[tuple[str, object]] = list(document.items())
    while pending:
        path, value = pending.pop()
        if isinstance(value, dict) and not any(name.startswith("$") for name in value):
            if not value:
                raise RequestInvalid(f"{path}: an empty object holds no value")
            pending.extend((f"{path}/{name}", inner) for name, inner in value.items())
            continue
        if path in entries:
            raise RequestInvalid(f"{path}: the document holds this path twice")
        entries[path] = _entry(path, value)
    return [entries[path] for path in sorted(entries)]


def parse_document(text: str | bytes) -> list[Put]:
    """Return the entries of a document in JSON.

    Raises:
        RequestInvalid: It is not JSON, a member comes twice, or ``flatten`` refuses it.
    """
    try:
        document = json.loads(text, object_pairs_hook=_unique_members)
    except (ValueError, RecursionError) as error:
        if isinstance(error, RequestInvalid):
            raise
        raise RequestInvalid(f"the document is not JSON: {error}") from None
    return flatten(document)


def export_document(items: Iterable[KeyValue]) -> dict[str, Any]:
    """Return a document, a flat map from paths, that ``flatten`` turns into the same entries."""
    return {item.key: _literal(item.value, item.content_type) for item in items}


def _entry(path: str, value: object) -> Put:
    try:
        check_key(path)
        if isinstance(value, dict):
            return _literal_entry(path, value)
        return Put(path, json_value(value), JSON)
    except (CommandFailed, RequestInvalid) as error:
        raise RequestInvalid(f"{path}: {error}") from None


def _literal_entry(path: str, literal: dict[str, Any]) -> Put:
    forms = literal.keys() - {_CONTENT_TYPE}
    content_type = literal.get(_CONTENT_TYPE)
    if content_type is not None and not isinstance(content_type, str):
        raise RequestInvalid(f"{_CONTENT_TYPE} is not text")
    if forms == {_JSON_LITERAL} and content_type is None:
        return Put(path, json_value(literal[_JSON_LITERAL]), JSON)
    if forms == {_TEXT_LITERAL} and isinstance(literal[_TEXT_LITERAL], str):
        try:
            return Put(path, literal[_TEXT_LITERAL].encode(), content_type or TEXT)
        except UnicodeEncodeError:
            raise RequestInvalid(f"{_TEXT_LITERAL} cannot be written in UTF-8") from None
    if forms == {_BASE64_LITERAL} and isinstance(literal[_BASE64_LITERAL], str):
        try:
            value = base64.b64decode(literal[_BASE64_LITERAL], validate=True)
        except (binascii.Error, ValueError):
            raise RequestInvalid(f"{_BASE64_LITERAL} is not base64") from None
        return Put(path, value, content_type or BYTES)
    raise RequestInvalid(
        f"an object with members that begin with $ must be one of {_JSON_LITERAL}, {_TEXT_LITERAL},"
        f" {_BASE64_LITERAL}; the last two may have {_CONTENT_TYPE}"
    )


def _literal(value: bytes, content_type: str) -> Any:
    """Return what ``flatten`` turns into exactly this value and content type."""
    if content_type == JSON:
        try:
            document = json.loads(value)
            if json_value(document) == value:
                return {_JSON_LITERAL: document} if isinstance(document, dict) else document
        except (ValueError, RecursionError):
            pass  # another client's bytes under this type; they are kept as they are
    try:
        return {_TEXT_LITERAL: value.decode(), _CONTENT_TYPE: content_type}
    except UnicodeDecodeError:
        return {_BASE64_LITERAL: base64.b64encode(value).decode(), _CONTENT_TYPE: content_type}


def _unique_members(members: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(members)
    if len(document) != len(members):
        names = [name for name, _ in members]
        twice = next(name for name in names if names.count(name) > 1)
        raise RequestInvalid(f"the document holds {twice!r} twice in one object")
    return document
