"""An orchestrator: somebody's program that does the tasks of a run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import httpx2

KEY = "the-project-key-of-this-test"


Work = Callable[[httpx2.Client, dict[str, Any]], None]


def orchestrate(port: int, stop: threading.Event, work: Work, most: int = 8) -> None:
    """Claims up to `most` tasks at once of the gateway at a port until it is to stop, and does each as `work` does."""
    gateway, project = f"http://127.0.0.1:{port}", {"authorization": f"Bearer {KEY}"}
    with httpx2.Client(timeout=30) as http:
        while not stop.is_set():
            try:
                asked = {"worker_id": "w", "max": most, "wait_s": 1}
                claimed = http.post(f"{gateway}/v1/orchestrator/tasks:claim", json=asked, headers=project)
                for task in claimed.json() if claimed.status_code == 200 else []:
                    work(http, task)
            except httpx2.TransportError:  # it is not there yet, or no more
                time.sleep(0.05)


def one_turn(heard: list[int]) -> Work:
    """Completes tasks after one turn each; `heard` gets the status of a reward that nobody asked for."""

    def work(http: httpx2.Client, task: dict[str, Any]) -> None:
        key = {"authorization": f"Bearer {task['session_key']}"}
        said = {"model": "policy", "messages": task["task"]["messages"]}
        http.post(f"{task['base_url']}/v1/chat/completions", json=said, headers=key)
        rollout = f"{task['base_url']}/v1/orchestrator/rollouts/{task['rollout_id']}"
        heard.append(http.post(f"{rollout}:reward", json={"reward": 1.0}, headers=key).status_code)
        http.post(f"{rollout}:complete", json={"status": "ready"}, headers=key)

    return work
