"""Batch inference over a file, in OpenAI's line format, through the same routes as the endpoint without its sockets.

`{"custom_id", "method": "POST", "url": "/v1/...", "body"}` in; `{"id", "custom_id", "response", "error"}` out, in the
order in which answers are ready. A line is written whole or dropped when the file is opened again, so a killed batch
goes on with what is missing.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import httpx2

from bloomery.core.errors import DamagedError, InputError, Where, nearest
from bloomery.data.turns import refuse_half_in
from bloomery.serve.access import QUEUED
from bloomery.serve.limits import BODY

RETRY_SECONDS = 0.2
KEYS = ("custom_id", "method", "url", "body")


@dataclass(slots=True)
class Counted:
    """How far a batch is: lines in all, answered before and now, and of all answered those that were refused."""

    lines: int
    done: int = 0
    failed: int = 0

    def add(self, record: dict[str, Any]) -> None:
        """One more answer."""
        self.done += 1
        self.failed += record["response"]["status_code"] != 200


async def answer_file(
    app: Any, token: str, source: Path, out: Path, at_once: int, told: Callable[[Counted], None]
) -> Counted:
    """Answer every line of `source` that `out` lacks, `at_once` of them together; `told` is called after each.

    Raises `InputError` naming the line that cannot be asked, or an answer in `out` that belongs to other questions.
    """
    wanted = {request["custom_id"]: request for request in read_requests(source)}
    counted = Counted(len(wanted))
    with open(out, "ab+", opener=_private) as file:
        _lock(file, out)
        for record in _answered(file, out):
            if wanted.pop(record["custom_id"], None) is None:
                message = f"holds an answer to `{record['custom_id']}`, which `{source.name}` does not ask once"
                raise InputError(message, where=Where(out), fix="give --out another file")
            counted.add(record)
        told(counted)
        headers = {"authorization": f"Bearer {token}"}
        transport = httpx2.ASGITransport(app)  # nothing leaves this process, so `core/http.py` has nothing to guard
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as client:
            left = iter(wanted.values())

            async def work() -> None:
                for request in left:
                    record = await _ask(client, request)
                    file.write((json.dumps(record, ensure_ascii=False) + "\n").encode())
                    file.flush()
                    counted.add(record)
                    told(counted)

            async with asyncio.TaskGroup() as group:
                for _ in range(min(at_once, len(wanted))):
                    group.create_task(work())
        os.fsync(file.fileno())
    return counted


async def _ask(client: httpx2.AsyncClient, request: dict[str, Any]) -> dict[str, Any]:
    """The line that answers `request`; a busy engine is asked again."""
    while True:
        found = await client.post(request["url"], json=request["body"], timeout=None)
        if found.status_code != 429:
            break
        await asyncio.sleep(RETRY_SECONDS)
    number = uuid.uuid4().hex[:24]
    response = {"status_code": found.status_code, "request_id": f"req_{number}", "body": found.json()}
    return {"id": f"batch_req_{number}", "custom_id": request["custom_id"], "response": response, "error": None}


def read_requests(source: Path) -> Iterator[dict[str, Any]]:
    """The lines of a batch, checked. Raises `InputError` with file and line."""
    if not source.is_file():
        raise InputError("is not a file", where=Where(source), fix="give --batch a file of JSON lines")
    seen: set[str] = set()
    with open(source, "rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(2 * BODY), b""), 1):
            if not line.strip():
                continue
            where = Where(source, number)
            request = _request(line, where)
            if request["custom_id"] in seen:
                message = f"`custom_id: {request['custom_id']}` stands twice"
                raise InputError(message, where=where, fix="give every line its own")
            seen.add(request["custom_id"])
            yield request
    if not seen:
        raise InputError("holds no requests", where=Where(source), fix="write one a line")


def _request(line: bytes, where: Where) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        raise InputError("is no JSON object", where=where) from None
    if not isinstance(found, dict):
        raise InputError("is no JSON object", where=where)
    refuse_half_in(found, where)
    if unknown := next((key for key in found if key not in KEYS), None):
        message = f"a request has no key `{unknown}`{nearest(unknown, KEYS)}"
        raise InputError(message, where=where, fix="rename or remove it; what the model is asked stands in `body`")
    custom, body = found.get("custom_id"), found.get("body")
    if not isinstance(custom, str) or not custom:
        raise InputError("`custom_id` must be a text of its own", where=where, fix="number the lines")
    if found.get("method", "POST") != "POST":
        raise InputError(f"`method: {found['method']}` must be POST", where=where)
    if found.get("url") not in QUEUED:
        raise InputError(f"`url: {found.get('url')}` is no route{nearest(str(found.get('url')), QUEUED)}", where=where)
    if not isinstance(body, dict) or body.get("stream"):
        raise InputError("`body` must be a request that does not stream", where=where)
    return {"custom_id": custom, "url": found["url"], "body": body}


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)  # it holds what a model said to users


def _lock(file: IO[bytes], out: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise InputError("is being written by another batch", where=Where(out), fix="wait for it") from None


def _answered(file: IO[bytes], out: Path) -> Iterator[dict[str, Any]]:
    """Answers that are there already; a line half written by a killed process is cut off."""
    file.seek(0)
    data = file.read()
    whole = data[: data.rfind(b"\n") + 1]
    for number, line in enumerate(whole.split(b"\n")[:-1], 1):
        try:
            record = json.loads(line)
            _ = record["custom_id"], record["response"]["status_code"]
        except (ValueError, KeyError, TypeError):
            raise DamagedError("is no answer of a batch", where=Where(out, number)) from None
        yield record
    file.truncate(len(whole))
    file.seek(0, os.SEEK_END)
