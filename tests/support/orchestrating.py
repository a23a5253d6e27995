"""An orchestrator: somebody's program that does the tasks of a run."""

from __future__ import annotations

import threading
import time

import httpx2

KEY = "the-project-key-of-this-test"


def orchestrate(port: int, stop: threading.Event, heard: list[int]) -> None:
    """Completes what it claims, one turn each, and is not asked what that is worth; the first it leaves half done."""
    gateway, project = f"http://127.0.0.1:{port}", {"authorization": f"Bearer {KEY}"}
    with httpx2.Client(timeout=30) as http:
        while not stop.is_set():
            try:
                asked = {"worker_id": "w", "max": 8, "wait_s": 1}
                claimed = http.post(f"{gateway}/v1/orchestrator/tasks:claim", json=asked, headers=project)
                for task in claimed.json() if claimed.status_code == 200 else []:
                    key = {"authorization": f"Bearer {task['session_key']}"}
                    said = {"model": "policy", "messages": task["task"]["messages"]}
                    http.post(f"{task['base_url']}/v1/chat/completions", json=said, headers=key)
                    rollout = f"{gateway}/v1/orchestrator/rollouts/{task['rollout_id']}"
                    heard.append(http.post(f"{rollout}:reward", json={"reward": 1.0}, headers=key).status_code)
                    http.post(f"{rollout}:complete", json={"status": "ready"}, headers=key)
            except httpx2.TransportError:  # it is not there yet, or no more
                time.sleep(0.05)
