"""The queue for people: items by the value of their label, leases, votes, disagreements. One SQLite file.

Every change is one transaction with its line in the trail: after a kill it is there whole, or not at all.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bloomery.core.errors import DamagedError, InputError, Where, nearest
from bloomery.review.audit import acts, note, verify
from bloomery.review.tables import SCHEMA, VERSION

LEASE = 900.0
"""Seconds that an item is kept for a person."""
PATIENCE = 30.0
"""Seconds that a process waits for another one's transaction."""

PUT = "insert into item (id, question, row, labels, scores, value, wanted) values (?, ?, ?, ?, ?, ?, ?)"
GET = "select id, question, row, labels, scores, value from item where number = ?"
TWICE = "select count(*) from (select item from vote group by item having count(*) >= 2)"
AGREED = "select count(*) from (select item from vote group by item having count(*) = 2 and min(label) = max(label))"
NEXT = """
select number from item
where state = :state
  and (:question is null or question = :question)
  and id || char(10) || question not in (select value from json_each(:without))
  and not exists (select 1 from vote where vote.item = item.number and vote.person = :person)
  and (select count(*) from vote where vote.item = item.number and :state = 'open')
    + (select count(*) from lease where lease.item = item.number and lease.ends > :now)
    < case when :state = 'open' then wanted else 1 end
order by value desc, number limit 1
"""
"""The most valuable item that has room for one more person who has not answered it."""


@dataclass(frozen=True, slots=True)
class Item:
    """Something to be labelled. `scores` are the model's probabilities by label; `value` orders the queue."""

    id: str
    question: str
    row: Mapping[str, Any]
    labels: Sequence[str]
    scores: Mapping[str, float]
    value: float


@dataclass(frozen=True, slots=True)
class Lease:
    """An item kept for one person until `ends` (seconds since 1970); `fence` is needed to answer it.

    `votes` are the answers of others, shown to who settles a disagreement only.
    """

    fence: int
    ends: float
    item: Item
    votes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Decided:
    """An item with its answer, and the vote of each person."""

    item: Item
    answer: str
    votes: Mapping[str, str]


class ReviewQueue:
    """One file that several processes may open. Raises `DamagedError` for a file that is no queue of ours."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self.path, self.clock = path, clock
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))  # it holds users' rows
        self._db = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
        try:
            self._db.execute("pragma journal_mode = wal")
            self._db.execute("pragma synchronous = full")
            self._open()
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise DamagedError(f"is no review queue: {error}", where=Where(path)) from None

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def add(self, items: Sequence[Item], people: int = 1) -> int:
        """Put items in, each to be answered by so many people; how many are new.

        An item that is there already gets its new scores and value unless it was answered: the next model's word
        counts. Raises `InputError` for fewer than one or more than two people, and values that are no numbers.
        """
        if people not in (1, 2):
            raise InputError(
                f"{people} people cannot answer an item", fix="use 1, or 2 whose disagreements are settled"
            )
        with self._change():
            new = 0
            for one in items:
                new += self._put(one, people)
            if items:
                note(self._db, self.clock(), "add", items=len(items), new=new, people=people)
            return new

    def next(
        self,
        person: str,
        *,
        question: str | None = None,
        disagreed: bool = False,
        lease: float = LEASE,
        without: Collection[tuple[str, str]] = (),
    ) -> Lease | None:
        """The most valuable item for a person, kept for `lease` seconds; None where there is none.

        A person has one lease at a time: who asks again gets the same item, with more time. `disagreed` hands out what
        two people answered differently, to a third; `without` are (id, question) of items not wanted now.
        """
        person = person.strip()  # one who answers under two spellings would be two people
        self._refuse_nameless(person)
        now, state = self.clock(), "disagreed" if disagreed else "open"
        with self._change():
            held = self._db.execute(
                "select lease.item, fence from lease join item on item.number = lease.item "
                "where person = ? and ends > ? and state = ? and (? is null or question = ?)",
                (person, now, state, question, question),
            ).fetchone()
            if held:
                number, fence = held
                self._db.execute("update lease set ends = ? where fence = ?", (now + lease, fence))
            else:
                asked = {"state": state, "question": question, "person": person, "now": now}
                asked["without"] = json.dumps([f"{name}\n{about}" for name, about in without])
                found = self._db.execute(NEXT, asked).fetchone()
                if found is None:
                    return None
                number = found[0]
                self._db.execute("delete from lease where item = ? and ends <= ?", (number, now))
                row = (number, person, now + lease)
                fence = self._db.execute("insert into lease (item, person, ends) values (?, ?, ?)", row).lastrowid
                note(self._db, now, "lease", item=number, person=person, fence=fence, ends=now + lease)
            return Lease(fence, now + lease, self._item(number), self._votes(number) if disagreed else {})

    def label(self, fence: int, label: str, comment: str = "") -> str:
        """Answer a leased item; its state afterwards: `open` (a second person is awaited), `disagreed` or `decided`.

        The same answer again is taken as said before: who was killed before the acknowledgement may repeat it. Raises
        `InputError` for a lease that ended and went to another person, an unknown label and a second, other answer.
        """
        with self._change():
            said = self._db.execute("select item, label from vote where fence = ?", (fence,)).fetchone()
            if said:
                if said[1] != label:
                    raise InputError(f"lease {fence} was answered `{said[1]}` already", fix="votes are not changed")
                return self._state(said[0])
            held = self._db.execute("select item, person from lease where fence = ?", (fence,)).fetchone()
            if held is None:
                raise InputError(f"lease {fence} is not there, or ended and went on", fix="take the next item")
            number, person = held
            known = self._item(number).labels
            if label not in known:
                raise InputError(
                    f"`{label}` is no label of this item{nearest(label, known)}", fix="use one of its labels"
                )
            self._db.execute("insert into vote values (?, ?, ?, ?, ?)", (fence, number, person, label, comment))
            self._db.execute("delete from lease where fence = ?", (fence,))
            note(self._db, self.clock(), "label", item=number, person=person, label=label, fence=fence, note=comment)
            return self._settle(number, label)

    def release(self, fence: int) -> None:
        """Give an item back unanswered."""
        with self._change():
            held = self._db.execute("select item, person from lease where fence = ?", (fence,)).fetchone()
            if held:
                self._db.execute("delete from lease where fence = ?", (fence,))
                note(self._db, self.clock(), "release", item=held[0], person=held[1], fence=fence)

    def decided(self, question: str | None = None) -> list[Decided]:
        """Items with an answer, in the order in which they were put in."""
        rows = self._db.execute(
            "select number, answer from item where state = 'decided' and (? is null or question = ?) order by number",
            (question, question),
        ).fetchall()
        return [Decided(self._item(number), answer, self._votes(number)) for number, answer in rows]

    def disagreements(self) -> list[tuple[Item, dict[str, str]]]:
        """Items that two people answered differently, with their votes."""
        rows = self._db.execute("select number from item where state = 'disagreed' order by number").fetchall()
        return [(self._item(number), self._votes(number)) for (number,) in rows]

    def find(self, name: str, question: str) -> tuple[int, Item] | None:
        """The number that the trail knows an item by, and the item."""
        found = self._db.execute("select number from item where id = ? and question = ?", (name, question)).fetchone()
        return (found[0], self._item(found[0])) if found else None

    def acts(self) -> Iterator[dict[str, Any]]:
        """Every act of the trail in order."""
        return acts(self._db)

    def stats(self) -> dict[str, Any]:
        """Items by question and state, live leases, votes, and how often two people agreed."""
        counts: dict[str, dict[str, int]] = {}
        for question, state, count in self._db.execute("select question, state, count(*) from item group by 1, 2"):
            counts.setdefault(question, {})[state] = count
        leased = self._one("select count(*) from lease where ends > ?", self.clock())
        votes = self._one("select count(*) from vote")
        twice, agreed = self._one(TWICE), self._one(AGREED)
        return {"items": counts, "leased": leased, "votes": votes, "answered_twice": twice, "agreed": agreed}

    def audit(self, head: str | None = None) -> tuple[int, str]:
        """(acts, head) of the trail, checked against itself, the votes and the answers. Raises `DamagedError`."""
        self._db.execute("begin")
        try:
            return verify(self._db, Where(self.path), head)
        finally:
            self._db.execute("rollback")

    def _put(self, one: Item, people: int) -> int:
        if not abs(one.value) < float("inf"):
            raise InputError(f"item `{one.id}` has the value {one.value}", fix="give it a finite one")
        row, scores = (json.dumps(dict(part), ensure_ascii=False) for part in (one.row, one.scores))
        fields = (one.id, one.question, row, json.dumps(list(one.labels)), scores, one.value, people)
        there = self._db.execute("select number, labels from item where id = ? and question = ?", fields[:2]).fetchone()
        if there is None:
            self._db.execute(PUT, fields)
            return 1
        if there[1] != fields[3]:
            raise InputError(f"item `{one.id}` has other labels in the queue", fix="use another queue")
        again = "update item set scores = ?, value = ? where number = ? and state = 'open'"
        self._db.execute(again, (scores, one.value, there[0]))
        return 0

    def _settle(self, number: int, label: str) -> str:
        """What a new vote makes of an item."""
        state, wanted = self._db.execute("select state, wanted from item where number = ?", (number,)).fetchone()
        votes = self._votes(number)
        if state == "open" and len(votes) < wanted:
            return "open"
        if state == "open" and len(set(votes.values())) > 1:
            self._db.execute("update item set state = 'disagreed' where number = ?", (number,))
            note(self._db, self.clock(), "disagree", item=number, votes=votes)
            return "disagreed"
        self._db.execute("update item set state = 'decided', answer = ? where number = ?", (label, number))
        by = "adjudication" if state == "disagreed" else "agreement"
        note(self._db, self.clock(), "decide", item=number, label=label, by=by)
        return "decided"

    def _item(self, number: int) -> Item:
        name, question, row, labels, scores, value = self._db.execute(GET, (number,)).fetchone()
        return Item(name, question, json.loads(row), json.loads(labels), json.loads(scores), value)

    def _votes(self, number: int) -> dict[str, str]:
        return dict(self._db.execute("select person, label from vote where item = ? order by fence", (number,)))

    def _state(self, number: int) -> str:
        return str(self._one("select state from item where number = ?", number))

    def _one(self, query: str, *values: Any) -> Any:
        return self._db.execute(query, values).fetchone()[0]

    def _open(self) -> None:
        with self._change():
            version = self._one("pragma user_version")
            if version == 0 and not self._one("select count(*) from sqlite_master"):
                for statement in SCHEMA.strip().split(";\n"):
                    self._db.execute(statement)
                self._db.execute(f"pragma user_version = {VERSION}")
            elif version != VERSION:
                raise sqlite3.DatabaseError("it is of another program, or of another version")

    @contextlib.contextmanager
    def _change(self) -> Iterator[None]:
        """One transaction, alone in writing from its beginning."""
        self._db.execute("begin immediate")
        try:
            yield
        except BaseException:
            self._db.execute("rollback")
            raise
        self._db.execute("commit")

    @staticmethod
    def _refuse_nameless(person: str) -> None:
        if not person.strip():
            raise InputError("a lease needs the name of a person", fix="give one with --person")
