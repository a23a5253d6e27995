"""Environments that drive their rollouts themselves: what hangs is given up, and only that depends on the time."""

from __future__ import annotations

import importlib
import threading
from typing import Any

import pytest

from bloomery.rl.environments import driving

TASK = {
    "rollout_id": "r", "attempt": 1, "base_url": "http://nowhere", "session_key": "s",
    "task": {"messages": [{"role": "user", "content": "say 5"}]},
}  # fmt: skip


class Told:
    """A gateway that keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[tuple[str, Any]] = []

    def post(self, route: str, body: Any) -> None:
        self.said.append((route, body))


def test_a_rollout_that_hangs_is_given_up_at_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(driving.SCRIPT.parent))  # its process is started by path too
    worker = importlib.import_module(driving.SCRIPT.stem)
    over, places, told = threading.Event(), threading.Semaphore(0), Told()

    class Hangs:
        def run(self, task: Any, base_url: str, api_key: str) -> float:
            over.wait()
            return 1.0

    job = {"kwargs": {}, "seconds": 0.05, "graded": False}
    try:
        worker.Rollout(Hangs, job, told, TASK, places).watched()
        route, body = told.said[-1]
        assert route == "rollouts/r:complete" and body["attempt"] == 1 and body["status"] == "failed"
        assert body["error"] == {"kind": "task", "retryable": False, "message": "it took longer than 0.05 s"}
        assert {route for route, _ in told.said[:-1]} <= {"rollouts/r:heartbeat"}
        assert places.acquire(blocking=False)  # others go on in its place
    finally:
        over.set()
