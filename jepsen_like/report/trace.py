"""The trace of a simulated run, read back as a story and as messages for the diagram.

It knows the form of a trace's lines and nothing of what simulates: ``time who | what came``, or
``time who . what it did``, or ``time who what happened to it``. A line of another form is passed
over, because a simulator may say more.

A node counts its clients by connection and a client counts itself, so a message between the two is
known by its text; and a node says only how many submissions came at once, so these end in the order
in which they were sent.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from jepsen_like.report.facts import Arrow, Step

_LINE = re.compile(r"\s*(?P<time>\d+(?:\.\d+)?) (?P<text>.*)", re.DOTALL)
_DID = re.compile(r"(?P<who>[nc]\d+) \. (?P<text>.*)", re.DOTALL)
_CAME = re.compile(r"(?P<who>[nc]\d+) \| (?P<text>.*)", re.DOTALL)
_HAPPENED = re.compile(r"(?P<who>[nc]\d+) (?P<text>[^|. ].*)", re.DOTALL)
_SENT = re.compile(r"-> (?:(?P<to>[nc]\d+) )?(?P<text>\w+\(.*)", re.DOTALL)
_ASKED = re.compile(r" ?c\d+ -> ")
_FROM_NODE = re.compile(r"(?P<sender>n\d+) -> (?P<text>.*)", re.DOTALL)
_SUBMITTED = re.compile(r"Submitted\((?P<count>\d+)\)")
_LINK = re.compile(r"(?P<what>connect|connected|disconnected) (?P<node>n\d+)")
_CAMPAIGN = re.compile(r"persist \[issued (?P<ballot>[^ \]]+)\]")
_LEADS = re.compile(r"-> n\d+ Heartbeat\(.*\bleads=(?P<ballot>[^ )]+)")

_SUBMISSIONS = ("Submit(", "OpenSession(")

SOMEBODY = "clients"
"""The lane of clients that were gone when a node answered them."""

UNDER_WAY = 3.0
"""A message that did not arrive counts as under way at the end of a trace if it is younger than
this many journeys of a slow message (nine of ten are faster); an older one was lost."""


class Trace(NamedTuple):
    """What a trace tells."""

    story: list[Step]
    arrows: list[Arrow]


def read(lines: Iterable[str], last: int = 200, heartbeats: bool = False) -> Trace:
    """Read the end of a trace.

    Args:
        lines: All of the trace: a message is recognised when it comes, and that may be late.
        last: How many steps and how many messages are kept, counted from the end.
        heartbeats: Whether they are kept; they are most of what is sent, and explain little.
    """
    messages, story = _Messages(heartbeats), _Story(last)
    now = 0.0
    for line in lines:
        found = _LINE.fullmatch(line.rstrip("\n"))
        if found is None:
            continue
        now, text = float(found["time"]), found["text"]
        did, came = _DID.fullmatch(text), _CAME.fullmatch(text)
        if did is not None:
            story.did(now, did["who"], did["text"])
            messages.did(now, did["who"], did["text"])
        elif came is not None:
            messages.came(now, came["who"], came["text"])
        else:
            story.happened(now, text)
    return Trace(list(story.steps), _judge(messages.arrows, now)[-last:])


class _Messages:
    """Arrows, begun when something is sent and ended when it is known to have come."""

    def __init__(self, heartbeats: bool) -> None:
        self.arrows: list[Arrow] = []
        self._heartbeats = heartbeats
        self._linked: dict[str, str] = {}  # by client: the node that it talks to
        # Arrows under way, by number: between nodes; questions of clients; answers to them.
        self._between: dict[tuple[str, str, str], list[int]] = {}
        self._questions: dict[tuple[str, str], list[int]] = {}
        self._answers: dict[tuple[str, str], list[int]] = {}
        self._submissions: dict[str, deque[int]] = {}  # by node

    def did(self, now: float, who: str, text: str) -> None:
        """``who`` did something: perhaps it sent."""
        link = _LINK.fullmatch(text)
        if link is not None:
            self._link(who, link["node"])
            return
        sent = _SENT.fullmatch(text)
        if sent is None:
            return
        to, message = sent["to"], sent["text"]
        if who.startswith("c"):
            self._ask(now, who, message)
        elif to is not None and to.startswith("c"):
            self._begin(now, who, SOMEBODY, message, self._answers.setdefault((who, message), []))
        elif to is not None and to != who and (self._heartbeats or "Heartbeat" not in message):
            waiting = self._between.setdefault((who, to, message), [])
            self._begin(now, who, to, message, waiting)

    def came(self, now: float, who: str, text: str) -> None:
        """Something came to ``who``: perhaps a message."""
        if who.startswith("c"):
            self._client_heard(now, who, text)
            return
        submitted = _SUBMITTED.fullmatch(text)
        if submitted is not None:
            waiting = self._submissions.get(who, deque())
            for _ in range(min(int(submitted["count"]), len(waiting))):
                self._end(now, waiting.popleft())
            return
        between = _FROM_NODE.fullmatch(text)
        if between is not None and between["sender"] != who:
            self._come_between(now, between["sender"], who, between["text"])
            return
        for question in _ASKED.split(text)[1:]:
            asked = self._questions.get((who, question))
            if asked:
                self._end(now, asked.pop())

    def _link(self, client: str, node: str) -> None:
        """A client turns to another connection: what it asked on the last one is lost."""
        self._linked[client] = node
        for waiting in self._submissions.values():
            for place in [each for each in waiting if self.arrows[each].sender == client]:
                waiting.remove(place)

    def _ask(self, now: float, client: str, message: str) -> None:
        node = self._linked.get(client)
        if node is None:
            return
        if message.startswith(_SUBMISSIONS):
            self._submissions.setdefault(node, deque()).append(len(self.arrows))
            self.arrows.append(Arrow(now, None, client, node, message))
        else:
            waiting = self._questions.setdefault((node, message), [])
            self._begin(now, client, node, message, waiting)

    def _client_heard(self, now: float, client: str, text: str) -> None:
        link = _LINK.fullmatch(text)
        if link is not None:
            self._link(client, link["node"])
        elif text.startswith("<- "):
            key = (self._linked.get(client, ""), text.removeprefix("<- "))
            waiting = self._answers.get(key)
            if waiting:
                self._end(now, waiting.pop(), client)

    def _come_between(self, now: float, sender: str, to: str, message: str) -> None:
        waiting = self._between.get((sender, to, message))
        if waiting:
            # The youngest: what is sent again was lost before.
            self._end(now, waiting.pop())
        elif self._heartbeats or "Heartbeat" not in message:
            # A copy: its original has come already. It is drawn as sent when it came.
            self.arrows.append(Arrow(now, now, sender, to, message))

    def _begin(self, now: float, sender: str, to: str, message: str, waiting: list[int]) -> None:
        waiting.append(len(self.arrows))
        self.arrows.append(Arrow(now, None, sender, to, message))

    def _end(self, now: float, place: int, to: str | None = None) -> None:
        arrow = self.arrows[place]
        self.arrows[place] = replace(arrow, received_s=now, to=to or arrow.to)


def _judge(arrows: list[Arrow], end: float) -> list[Arrow]:
    """Tell what is under way from what is lost."""
    journeys = sorted(a.received_s - a.sent_s for a in arrows if a.received_s is not None)
    young = UNDER_WAY * journeys[len(journeys) * 9 // 10] if journeys else 0.0
    return [
        each
        if each.received_s is not None or each.sent_s < end - young
        else replace(each, in_flight=True)
        for each in arrows
    ]


class _Story:
    """The turning points: faults, lives, campaigns, leaders, and the violation."""

    def __init__(self, last: int) -> None:
        self.steps: deque[Step] = deque(maxlen=last)
        self._led: set[str] = set()

    def did(self, now: float, who: str, text: str) -> None:
        """``who`` did something: perhaps it campaigned, or began to lead."""
        campaign = _CAMPAIGN.match(text)
        if campaign is not None:
            self._add(now, who, f"campaigns with ballot {campaign['ballot']}")
        leads = _LEADS.match(text)
        if leads is not None and leads["ballot"] not in self._led:
            self._led.add(leads["ballot"])
            self._add(now, who, f"leads with ballot {leads['ballot']}")

    def happened(self, now: float, text: str) -> None:
        """Something happened, to one node or to all of them."""
        if text.startswith("VIOLATION "):
            self.steps.append(Step(now, "", text.removeprefix("VIOLATION "), wrong=True))
        elif text.startswith("nemesis: "):
            self._add(now, "nemesis", text.removeprefix("nemesis: "))
        elif text.startswith("healed"):
            self._add(now, "nemesis", text)
        else:
            found = _HAPPENED.fullmatch(text)
            if found is not None:
                self._add(now, found["who"], found["text"])

    def _add(self, now: float, who: str, text: str) -> None:
        self.steps.append(Step(now, who, text))
