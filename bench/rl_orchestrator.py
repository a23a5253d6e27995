"""An orchestrator of bench/rl_learns.py: one answer a task through the openai client, and the reward of the program.

Where the run grades by itself (403 for a session's reward), it only says that the rollout is over.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from openai import APIConnectionError, APIStatusError, OpenAI

from bloomery.data.curated.workflow.check import check

ORCHESTRATOR = os.environ["GATEWAY"] + "/v1/orchestrator"
AT_ONCE = 32


def rollout(project: OpenAI, claim: dict[str, Any]) -> None:
    tasks = project.with_options(api_key=claim["session_key"], max_retries=5)
    path = f"/rollouts/{claim['rollout_id']}"
    try:
        client = tasks.with_options(base_url=claim["base_url"] + "/v1")
        answer = client.chat.completions.create(model="policy", messages=claim["task"]["messages"])
        right = check((answer.choices[0].message.content or "").strip(), claim["task"]["metadata"]).ok
        tasks.post(f"{path}:complete", body={"status": "ready"}, cast_to=object)
        tasks.post(f"{path}:reward", body={"reward": float(right)}, cast_to=object)
    except APIStatusError as error:
        if error.status_code not in (403, 409, 410):
            raise


def work(number: int) -> None:
    project = OpenAI(base_url=ORCHESTRATOR, api_key=os.environ["BLOOMERY_TOKEN"], timeout=60)
    while True:
        try:
            asked = {"worker_id": f"{os.getpid()}-{number}", "max": 1, "wait_s": 20}
            for claim in project.post("/tasks:claim", body=asked, cast_to=object) or []:  # type: ignore[attr-defined]
                rollout(project, claim)
        except (APIConnectionError, APIStatusError):  # the run has not begun, has ended, or has enough under way
            time.sleep(0.5)


with ThreadPoolExecutor(AT_ONCE) as pool:
    list(pool.map(work, range(AT_ONCE)))
