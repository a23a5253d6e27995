"""Is a reward endpoint fit for a run? Asked as a run would ask it, and in ways that a run hopes not to."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from bloomery.core.http import Http, HttpError
from bloomery.graders.replies import FORMATS, SINGLE, Invalid, Verdict, read
from bloomery.rl.laws import Law

Item = dict[str, Any]
SAMPLE: Item = {
    "messages": [{"role": "user", "content": "What is 6 x 7?"}, {"role": "assistant", "content": "42"}],
    "reference_answer": "42",
    "metadata": {},
}
AT_ONCE = 8


class _Unfit(Exception):
    """A reply that no run could use."""


@dataclass(frozen=True)
class RewardCheck:
    """Holds the server at `url` to its laws. `rows` are items as graders send them, without ids."""

    url: str
    http: Http
    headers: Mapping[str, str]
    rows: Sequence[Item] = (SAMPLE,)
    format: str = "nova"
    seconds: float = 30.0
    """What a run would let one request take."""

    def laws(self) -> list[Law]:
        """Every law, in order; the later ones are not asked of a server that cannot score one answer."""
        first = self._law("one answer gets one finite number under its id", lambda: self._one("check-one"))
        if not first.held:
            return [first]
        return [
            first,
            self._law("the same id again gets the same score", self._again),
            self._law("a batch gets a score for each id, no more and no fewer", self._batch),
            self._law("the order of a batch changes no score", self._shuffled),
            self._law("an empty answer gets a score, or an error of its own", lambda: self._odd("")),
            self._law("an answer of 100 kB in many scripts does, too", lambda: self._odd("é漢🙂 \x00\n" * 9000)),
            self._law("fields that it does not know change nothing", self._unknown),
            self._law("what is no JSON is refused with 4xx, and ends nothing", self._garbage),
            self._law(f"{AT_ONCE} at once are answered in {self.seconds:g} s each", self._at_once),
        ]

    def _law(self, name: str, look: Callable[[], str | None]) -> Law:
        """`look` says what it saw, None where it saw nothing, and raises where the law is broken."""
        try:
            seen = look()
        except (_Unfit, Invalid, HttpError) as error:
            unseen = isinstance(error, HttpError) and not error.sent
            return Law(name, None if unseen else False, str(error))
        return Law(name, None if seen is None else True, seen or "the format has no batches")

    def _items(self, count: int, name: str) -> list[Item]:
        return [{**self.rows[at % len(self.rows)], "id": f"{name}-{at}"} for at in range(count)]

    def _verdicts(self, items: Sequence[Item]) -> list[Verdict]:
        """One for each item. Raises `_Unfit`, `Invalid` or `HttpError`."""
        body = json.dumps(list(items)).encode()
        reply = self.http.send("POST", self.url, {**self.headers, "Content-Type": "application/json"}, body)
        if reply.status == 202:
            raise _Unfit("it answers with a job (202), which a run waits for and this check does not")
        if reply.status not in (200, 201):
            raise _Unfit(f"status {reply.status}")
        return FORMATS[self.format](read(reply.body), [str(item["id"]) for item in items])

    def _scores(self, items: Sequence[Item]) -> dict[str, float]:
        found = self._verdicts(items)
        for verdict in found:
            if verdict.score is None:
                raise _Unfit(verdict.reason)
        return {str(item["id"]): float(v.score or 0) for item, v in zip(items, found, strict=True)}

    def _one(self, name: str) -> str:
        began = time.monotonic()
        [score] = self._scores(self._items(1, name)).values()
        return f"{score:g} in {time.monotonic() - began:.2f} s"

    def _again(self) -> str:
        [first], [second] = ([*self._scores(self._items(1, "check-again")).values()] for _ in range(2))
        if first != second:
            raise _Unfit(f"{first:g}, then {second:g}: a lost reply would change a reward")
        return ""

    def _batch(self) -> str | None:
        if self.format in SINGLE:
            return None
        return f"{len(self._scores(self._items(5, 'check-batch')))} scores"

    def _shuffled(self) -> str | None:
        if self.format in SINGLE:
            return None
        items = self._items(5, "check-order")
        mixed = random.Random(0).sample(items, len(items))
        if self._scores(items) != self._scores(mixed):
            raise _Unfit("scores depend on the place in the batch")
        return ""

    def _odd(self, answer: str) -> str:
        messages = [*self.rows[0]["messages"][:-1], {"role": "assistant", "content": answer}]
        [verdict] = self._verdicts([{**self.rows[0], "messages": messages, "id": f"check-odd-{len(answer)}"}])
        if verdict.score is None and not verdict.reason:
            raise _Unfit("neither")
        return f"{verdict.score:g}" if verdict.score is not None else verdict.reason

    def _unknown(self) -> str:
        [item] = self._items(1, "check-unknown")
        [score] = self._scores([{**item, "added_later": {"deep": [1, None]}}]).values()
        return f"{score:g}"

    def _garbage(self) -> str:
        told = {**self.headers, "Content-Type": "application/json"}
        status = self.http.send("POST", self.url, told, b"[{").status
        if not 400 <= status < 500:
            raise _Unfit(f"status {status}")
        self._one("check-after")
        return f"status {status}"

    def _at_once(self) -> str:
        def timed(number: int) -> float:
            began = time.monotonic()
            self._scores(self._items(1, f"check-many-{number}"))
            return time.monotonic() - began

        with ThreadPoolExecutor(AT_ONCE) as pool:
            took = sorted(pool.map(timed, range(2 * AT_ONCE)))
        if took[-1] > self.seconds:
            raise _Unfit(f"the slowest took {took[-1]:.1f} s")
        return f"median {took[AT_ONCE]:.2f} s, slowest {took[-1]:.2f} s"
