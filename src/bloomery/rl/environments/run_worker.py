"""Runs environments that drive their rollouts themselves: `run(task, base_url, api_key)` -> reward.

Started by path in any interpreter by `driving.py`, so it imports the standard library only. It claims tasks from the
gateway, as an orchestrator does, runs each in a thread of its own, and sends what it is worth.
"""

from __future__ import annotations

import asyncio
import atexit
import inspect
import json
import os
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from worker import load, named, result, tried  # beside this file, which runs without its package

WAIT = 2.0
"""Seconds that a claim waits for tasks."""


def main() -> None:
    """Load the class, then claim and run until standard input ends."""
    sys.path.pop(0)  # the folder of this file, whose names are none of the environment's business
    job = json.loads(sys.stdin.readline())
    os.dup2(2, 1)
    made = load(Path(job["file"]), job["class"])
    tried(made, job["kwargs"])
    threading.Thread(target=_end_with_parent, daemon=True).start()
    gateway, places = Gateway(job["gateway"], job["token"]), threading.Semaphore(job["places"])
    while True:
        places.acquire()
        try:
            claimed = gateway.post("tasks:claim", {"worker_id": job["worker"], "max": 1, "wait_s": WAIT}) or []
        except OSError as error:
            print(f"claim: {named(error)}", file=sys.stderr)
            claimed = []
            time.sleep(WAIT)
        if not claimed:
            places.release()
        for task in claimed:
            rollout = Rollout(made, job, gateway, task, places)
            threading.Thread(target=rollout.watched, daemon=True).start()


def _end_with_parent() -> None:
    """Whoever started this process holds the other end of its standard input."""
    sys.stdin.read()
    atexit._run_exitfuncs()  # what an environment started must not outlive it
    os._exit(0)


class Gateway:
    """The orchestrator's side of the protocol (docs/orchestrators.md), by the project's key."""

    def __init__(self, url: str, token: str) -> None:
        self.url, self._token = url, token

    def post(self, route: str, body: Any) -> Any:
        """The JSON that a route answers, None for nothing. Raises `OSError`."""
        headers = {"authorization": f"Bearer {self._token}", "content-type": "application/json"}
        data = json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/v1/orchestrator/{route}", data, headers)  # noqa: S310  (ours)
        with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
            told = response.read()
        return json.loads(told) if told else None


class Rollout:
    """One attempt at a task."""

    def __init__(self, made: Any, job: dict[str, Any], gateway: Gateway, task: dict[str, Any], places: Any) -> None:
        self._made, self._kwargs, self._gateway, self._task = made, job["kwargs"], gateway, task
        self._seconds, self._graded, self._places = job["seconds"], job["graded"], places
        self._found: dict[str, Any] = {}

    def watched(self) -> None:
        """Run it, keep its lease, and report; one that hangs is reported without what it might have been worth."""
        work = threading.Thread(target=self._run, daemon=True)
        work.start()
        until = time.monotonic() + self._seconds
        while work.is_alive() and time.monotonic() < until:
            work.join(min(20.0, max(0.0, until - time.monotonic())))
            if work.is_alive():
                self._say("heartbeat", {})
        self._places.release()
        self._report(self._found or {"error": f"it took longer than {self._seconds:g} s", "kind": "task"})

    def _report(self, found: dict[str, Any]) -> None:
        if "error" not in found:
            refused = self._say("complete", {"status": "ready", **({} if self._graded else found)})
            if not refused:
                return
            found = {"error": refused, "kind": "task"}
        kind = found.get("kind", "infrastructure")  # which is tried once more
        may = ("reward", "components") if kind == "model" else ()
        earned = {key: found[key] for key in may if key in found}
        if kind == "model" and not earned:
            kind = "task"  # or its reward would be waited for, which nobody sends
        fault = {"kind": kind, "retryable": kind == "infrastructure", "message": found["error"]}
        self._say("complete", {"status": "failed", "error": fault, **({} if self._graded else earned)})

    def _say(self, what: str, body: dict[str, Any]) -> str:
        """Tell the gateway; why it refused, empty where it did not."""
        route = f"rollouts/{self._task['rollout_id']}:{what}"
        try:
            self._gateway.post(route, {**body, "attempt": self._task["attempt"]})
        except urllib.error.HTTPError as error:
            told: bytes = error.read()
            return told[:500].decode(errors="replace")
        except OSError as error:
            return str(named(error))
        return ""

    def _run(self) -> None:
        try:
            value = asyncio.run(self._worth())
        except BaseException as error:
            self._found = {"error": named(error)}
            return
        if self._graded:  # by the recipe's own reward, from the transcript
            failed = isinstance(value, dict) and "error" in value
            self._found = {key: value[key] for key in ("error", "kind") if key in value} if failed else {"done": True}
        elif isinstance(value, dict):
            self._found = {key: value[key] for key in ("reward", "components", "error", "kind") if key in value}
        else:
            nothing = {"error": "run returned no reward", "kind": "task"}
            self._found = nothing if value is None else {"reward": _plain(value)}

    async def _worth(self) -> Any:
        one = self._made(**self._kwargs)
        row = {**self._task["task"], "messages": [_flat(message) for message in self._task["task"]["messages"]]}
        try:
            given = one.run(row, f"{self._task['base_url']}/v1", self._task["session_key"])
            return await result(given)
        finally:
            close = getattr(one, "close", None)
            value = close() if callable(close) else None
            if inspect.isawaitable(value):
                await value


def _flat(message: dict[str, Any]) -> dict[str, Any]:
    content = message.get("content")
    text = content if isinstance(content, str) else "".join(part.get("text", "") for part in content or [])
    return {**message, "content": text}


def _plain(value: Any) -> Any:
    """A number of numpy's as Python's."""
    return value.item() if hasattr(value, "item") else value


if __name__ == "__main__":
    main()
