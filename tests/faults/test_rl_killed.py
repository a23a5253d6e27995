"""A gateway that is killed at any moment goes on where it was: no turn lost or doubled, nothing trained twice."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from killed import begin
from rl_stage import PROJECT

from bloomery.core.errors import InputError
from bloomery.rl.journal import Journal
from bloomery.rl.turns import rows

SUPPORT = Path(__file__).resolve().parents[1] / "support"


class Server:
    """A gateway over one folder, at one port."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, 0
        self.process: Any = None

    def start(self) -> None:
        words = (str(self.folder), str(self.port), "0.002", "8")
        self.process, said = begin(SUPPORT / "rl_server.py", *words, within=self.folder)
        with said:
            self.port = int(said.readline())

    def kill(self) -> None:
        self.process.kill()
        self.process.join()


def worker(server: Server, replies: dict[str, list[Any]], turns: int) -> None:
    """An orchestrator that only knows openai's client, and asks again while the gateway is away."""
    base = f"http://127.0.0.1:{server.port}"

    def asked(path: str, key: str, body: Any) -> Any:
        while True:
            try:
                found = httpx2.post(f"{base}{path}", json=body, headers={"authorization": f"Bearer {key}"}, timeout=20)
                return found.json() if found.status_code == 200 else None
            except httpx2.TransportError:
                time.sleep(0.05)

    while task := (asked("/v1/orchestrator/tasks:claim", PROJECT, {"worker_id": "w"}) or [None])[0]:
        client = openai.OpenAI(api_key=task["session_key"], base_url=f"{base}/v1", max_retries=5000, timeout=20)
        messages: list[Any] = [{"role": "user", "content": task["task"]["question"]}]
        for _ in range(turns):
            found = client.chat.completions.create(model="x", messages=messages)
            replies.setdefault(task["rollout_id"], []).append(found)
            messages += [found.choices[0].message.model_dump(), {"role": "user", "content": "Go on."}]
        name = task["rollout_id"]
        body = {"status": "ready", "reward": 1.0}
        assert asked(f"/v1/orchestrator/rollouts/{name}:complete", task["session_key"], body)["train_state"] == "scored"


def test_a_gateway_killed_with_kill_9_loses_and_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.05)
    monkeypatch.setattr("openai._base_client.MAX_RETRY_DELAY", 0.1)
    server, replies = Server(tmp_path), dict[str, list[Any]]()
    server.start()
    workers = [threading.Thread(target=worker, args=(server, replies, 12)) for _ in range(3)]
    for one in workers:
        one.start()
    while sum(map(len, [*replies.values()])) < 20:
        time.sleep(0.01)
    server.kill()
    server.start()
    for one in workers:
        one.join(90)
        assert not one.is_alive()
    server.kill()

    journal = Journal(tmp_path / "journal.sqlite")
    outcomes = journal.settled().result()["g"]
    claimed_again = 8 - len(replies)
    assert len(outcomes) == len(replies) and claimed_again <= 3  # a claim whose reply was lost waits for its lease
    for outcome in outcomes:
        told = replies[outcome.rollout_id]
        sent = [one.completion for one in journal.sent(outcome.attempt.id).result()]
        assert sent == [one.id for one in told] and len(set(sent)) == 12
        tree = journal.tree(outcome.attempt.id).result()
        assert tree.counts == {"clean": 12, "realign": 0, "fork": 0}
        assert len(rows(tree, outcome.rollout_id, source="rl", example_id="e")) == 1
        assert [turn.reply["content"] for turn in tree.turns] == [one.choices[0].message.content for one in told]
    journal.batch([one.rollout_id for one in outcomes], 1).result()
    journal.close()
    again = Journal(tmp_path / "journal.sqlite")
    assert again.settled().result() == {}
    with pytest.raises(InputError, match="it is batched"):
        again.batch([outcomes[0].rollout_id], 2).result()
    again.close()
