"""One batch to a reward endpoint and its verdicts back: tries, waiting, jobs that take longer, signatures."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from bloomery.core.errors import InputError
from bloomery.core.http import Http, HttpError, Reply
from bloomery.core.secret import Secret
from bloomery.graders.pace import Breaker, Clock, Outage, Rate, backoff, retry_after
from bloomery.graders.replies import Invalid, Verdict, read

AGAIN = (408, 425, 429, 500, 501, 502, 503, 504)
"""Statuses after which the same request may well succeed, and every other from 500 up."""
POLL, LONGEST_POLL = 1.0, 15.0


class _Failed(Exception):
    """This try brought no reply that can be read."""

    def __init__(self, reason: str, again: bool, wait: float | None = None, down: bool = True) -> None:
        self.verdict, self.down = Verdict(None, reason, again=again, wait=wait), down
        super().__init__(reason)


@dataclass(frozen=True)
class Courier:
    """Delivers batches, from any thread; rate and breaker are shared by all of them."""

    url: str
    headers: Mapping[str, str | Secret]
    sign: Secret | None
    read: Callable[[Any, Sequence[str]], list[Verdict]]
    http: Http
    tries: int
    wait: float
    rate: Rate
    breaker: Breaker
    clock: Clock

    def deliver(self, items: Sequence[Mapping[str, Any]]) -> list[Verdict]:
        """One verdict for each item, in order. What may succeed another time is sent again, under the same id."""
        found: dict[str, Verdict] = {}
        left = list(items)
        for attempt in range(self.tries):
            try:
                self.breaker.enter()
            except Outage as outage:
                found |= {str(item["id"]): Verdict(None, f"the endpoint is down: {outage}") for item in left}
                break
            found |= self._try(left)
            left = [item for item in left if found[str(item["id"])].again]
            if not left:
                break
            if attempt + 1 < self.tries:
                asked = [wait for item in left if (wait := found[str(item["id"])].wait) is not None]
                self.clock.sleep(backoff(attempt, self.clock, max(asked, default=None)))
        return [found[str(item["id"])] for item in items]

    def _try(self, items: Sequence[Mapping[str, Any]]) -> dict[str, Verdict]:
        ids = [str(item["id"]) for item in items]
        try:
            reply = self._posted(items)
            verdicts = self.read(read(reply.body), ids)
            self.breaker.note(answered=True)
        except Invalid as error:  # a proxy's page, a reply that was cut: the next one may be read
            self.breaker.note(answered=True)
            verdicts = [Verdict(None, str(error), again=True)] * len(ids)
        except _Failed as failed:
            self.breaker.note(answered=not failed.down)
            verdicts = [failed.verdict] * len(ids)
        return dict(zip(ids, verdicts, strict=True))

    def _posted(self, items: Sequence[Mapping[str, Any]]) -> Reply:
        """The final reply, with a job that took longer waited for."""
        try:
            body = json.dumps(list(items), ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")
        except (TypeError, ValueError) as error:
            raise _Failed(f"the row cannot be sent as JSON: {error}", again=False, down=False) from None
        reply = self._sent("POST", self.url, body)
        return reply if reply.status != 202 else self._job(reply)

    def _sent(self, method: str, url: str, body: bytes) -> Reply:
        self.rate.wait()
        try:
            reply = self.http.send(method, url, self._headers(body), body)
        except HttpError as error:
            raise _Failed(str(error), again=error.kind not in ("refused", "size")) from None
        if reply.status in (200, 201, 202):
            return reply
        again = reply.status in AGAIN or reply.status > 500
        raise _Failed(f"the endpoint answered with status {reply.status}", again, retry_after(reply.headers), again)

    def _job(self, accepted: Reply) -> Reply:
        """Ask for a job's result until it is there. The job's address must be the endpoint's own server."""
        url = self._job_url(accepted)
        until, pause, reply = self.clock.now() + self.wait, POLL, accepted
        while reply.status == 202:
            left = until - self.clock.now()
            if left <= 0:
                raise _Failed(f"the endpoint's job took longer than {self.wait:g} s", again=False, down=False)
            self.clock.sleep(min(left, max(pause, min(retry_after(reply.headers) or 0.0, LONGEST_POLL))))
            pause = min(LONGEST_POLL, pause * 2)
            try:
                reply = self._sent("GET", url, b"")
            except _Failed as failed:
                if not failed.verdict.again:
                    raise
        return reply

    def _job_url(self, accepted: Reply) -> str:
        try:
            told = read(accepted.body)
        except Invalid:
            told = None
        named = told if isinstance(told, Mapping) else {}
        where = accepted.headers.get("location") or named.get("status_url")
        if not where and isinstance(named.get("job"), str | int) and not isinstance(named["job"], bool):
            where = f"{self.url.split('?')[0].rstrip('/')}/{quote(str(named['job']), safe='')}"
        if not isinstance(where, str):
            raise _Failed("the endpoint answered with status 202 and named no job", again=False, down=False)
        url = urljoin(self.url, where)
        if urlsplit(url)[:2] != urlsplit(self.url)[:2]:
            raise _Failed("the endpoint's job is on another server", again=False, down=False)
        return url

    def _headers(self, body: bytes) -> dict[str, str]:
        """The user's headers, a key that is the same for the same batch, and a signature over time and body."""
        headers = {name: value if isinstance(value, str) else value.reveal() for name, value in self.headers.items()}
        headers |= {"Content-Type": "application/json", "Idempotency-Key": hashlib.sha256(body).hexdigest()[:32]}
        if self.sign is not None:
            stamp = str(int(time.time()))
            headers |= {"X-Bloomery-Timestamp": stamp, "X-Bloomery-Signature": signature(self.sign, stamp, body)}
        for name, value in headers.items():
            if not name.isascii() or not value.isascii() or "\n" in value or "\r" in value:
                raise InputError(f"the header `{name}` cannot be sent", fix="use plain ASCII without line ends")
        return headers


def signature(secret: Secret, stamp: str, body: bytes) -> str:
    """`sha256=` and the hex HMAC of "<unix seconds>.<body>"."""
    return "sha256=" + hmac.new(secret.reveal().encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
