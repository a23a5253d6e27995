"""`bloomery rl check`: a sound server and a sound orchestrator hold every law, and each flaw breaks its own."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any

import httpx2
import pytest
from reward_server import FAULTS, reward_server
from scripted import ember_tokenizer
from tiny import bloomery

from bloomery.core.http import Access, Caps, Http
from bloomery.rl.check_orchestrator import OrchestratorCheck
from bloomery.rl.check_reward import RewardCheck
from bloomery.rl.config import PushSettings
from bloomery.rl.laws import Law, exit_status

KEY = "the-key-of-this-check"
Answer = Callable[[Any], tuple[int, Any]]


@contextmanager
def answering(answer: Answer) -> Iterator[str]:
    """A server whose POSTs are answered by `answer`, and whose health is good."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._tell(200, {"status": "healthy"})

        def do_POST(self) -> None:
            try:
                told = json.loads(self.rfile.read(int(self.headers["content-length"])))
            except ValueError:
                self._tell(400, {"error": "no JSON"})
                return
            self._tell(*answer(told))

        def _tell(self, status: int, value: Any) -> None:
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


def scored(score: Callable[[Any], Any]) -> Answer:
    return lambda items: (200, [{"id": item["id"], "aggregate_reward_score": score(item)} for item in items])


def reward_laws(url: str) -> dict[str, Law]:
    check = RewardCheck(url, Http(Access(private=True), Caps(total=10, read=10)), {})
    return {law.name: law for law in check.laws()}


def broken(laws: dict[str, Law]) -> list[str]:
    return [name for name, law in laws.items() if law.held is False]


def test_a_sound_reward_endpoint_holds_every_law() -> None:
    with answering(scored(lambda item: len(item["messages"][-1]["content"]) / 100)) as url:
        laws = reward_laws(url)
    assert broken(laws) == [] and len(laws) == 9 and exit_status([*laws.values()]) == 0


@pytest.mark.parametrize("fault", [name for name in FAULTS if name not in ("slow drip", "silent")])
def test_an_endpoint_that_cannot_score_one_answer_is_not_asked_more(fault: str) -> None:
    with reward_server(FAULTS[fault], share=1.0) as url:
        laws = reward_laws(url)
    assert [law.held for law in laws.values()] == [False] and exit_status([*laws.values()]) == 1


def test_each_flaw_of_a_reward_endpoint_breaks_its_law() -> None:
    numbers = count()
    with answering(scored(lambda item: next(numbers))) as url:
        assert "the same id again gets the same score" in broken(reward_laws(url))
    with answering(lambda items: scored(lambda item: 1.0)(items[:1])) as url:
        assert [law for law in broken(reward_laws(url)) if "batch" in law] != []
    with answering(
        lambda items: scored(lambda item: 1.0)(items) if items[0]["messages"][-1]["content"] else (500, {})
    ) as url:
        assert broken(reward_laws(url)) == ["an empty answer gets a score, or an error of its own"]
    with answering(scored(lambda item: 0.5 if "added_later" not in item else None)) as url:
        assert broken(reward_laws(url)) == ["fields that it does not know change nothing"]


def orchestrate(port: int, stop: threading.Event, careless: bool) -> None:
    """Claims tasks and drives them, until it is told to stop."""
    ask, project = {"worker_id": "w", "max": 1, "wait_s": 1}, {"authorization": f"Bearer {KEY}"}
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as http:
        while not stop.is_set():
            try:
                told = http.post("/v1/orchestrator/tasks:claim", json=ask, headers=project)
            except httpx2.TransportError:
                time.sleep(0.02)
                continue
            for task in told.json() if told.status_code == 200 else []:
                drive(http, task["session_key"], task["rollout_id"], task["task"]["messages"], careless)


def drive(http: httpx2.Client, key: str, rollout: str, messages: list[Any], careless: bool = False) -> None:
    """A rollout of two turns. Carelessly: without idempotency keys, without waiting, without stopping when it is over,
    with a text for a reward, and with a turn after the end."""
    headers = {"authorization": f"Bearer {key}"}
    said = [*messages]
    again = (429, 502, 409, 410) if careless else (429, 502)
    for turn in range(2):
        named = {} if careless else {"idempotency-key": f"{rollout}{turn}"}
        for _ in range(8):
            found = http.post("/v1/chat/completions", json={"model": "any", "messages": said}, headers=headers | named)
            if found.status_code not in again:
                break
            time.sleep(0 if careless else float(found.headers.get("retry-after", 0)))
        if found.status_code != 200:
            return
        said = [*said, found.json()["choices"][0]["message"], {"role": "user", "content": "Sure?"}]
    for reward in ("0.5", 0.5) if careless else (0.5,):
        done = f"/v1/orchestrator/rollouts/{rollout}:complete"
        http.post(done, json={"status": "ready", "reward": reward}, headers={"x-api-key": key})
    if careless:
        http.post("/v1/chat/completions", json={"model": "any", "messages": said}, headers=headers)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def dealt(careless: bool) -> dict[str, Law]:
    port, stop = free_port(), threading.Event()
    harness = threading.Thread(target=orchestrate, args=(port, stop, careless), daemon=True)
    harness.start()
    laws = OrchestratorCheck(ember_tokenizer(), "127.0.0.1", port, KEY, seconds=60, quiet=0.3).laws()
    stop.set()
    harness.join(5)
    return {law.name: law for law in laws}


def test_the_harness_of_the_page_holds_every_law(repository: Path, tmp_path: Path) -> None:
    page = (repository / "docs" / "orchestrators.md").read_text()
    [code] = re.findall(r"```python\n(# harness\.py\n.*?)^```", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "harness.py").write_text(code)
    port = free_port()
    own = os.environ | {"GATEWAY": f"http://127.0.0.1:{port}", "BLOOMERY_TOKEN": KEY}
    with subprocess.Popen([sys.executable, "harness.py"], cwd=tmp_path, env=own) as harness:
        laws = OrchestratorCheck(ember_tokenizer(), "127.0.0.1", port, KEY, seconds=120, quiet=0.3).laws()
        running = harness.poll() is None
        harness.kill()
    assert [law for law in laws if law.held is not True] == []
    assert running and len(laws) == 10 and exit_status(laws) == 0


def test_a_careless_one_breaks_a_law_for_each_of_its_flaws() -> None:
    laws = dealt(careless=True)
    assert broken(laws) == [
        "every reward is a finite number, in the shape asked for",
        "where it is asked to wait (429), it waits and asks again",
        "a lost reply is asked for again, and not as another turn",
        "it stops where its rollout was ended (409)",
        "it stops where its lease is over (410)",
        "nothing is asked of the model after the end",
    ]
    assert exit_status([*laws.values()]) == 1


def test_a_rollout_server_is_held_to_the_same_laws() -> None:
    def rollout(told: Any) -> tuple[int, Any]:
        metadata = told["metadata"]
        with httpx2.Client(base_url=metadata["endpoint"], timeout=20) as http:
            drive(http, metadata["session_key"], metadata["rollout_id"], told["instance"]["messages"])
        return 200, {"status": "accepted"}

    port = free_port()
    with answering(rollout) as url:
        push = PushSettings(url, f"http://127.0.0.1:{port}", private=True, rate_limit=100, seconds=60)
        laws = OrchestratorCheck(ember_tokenizer(), "127.0.0.1", port, KEY, seconds=60, push=push, quiet=0.3).laws()
    assert [law.why for law in laws if law.held is not True] == [] and len(laws) == 10


def test_the_verb_prints_a_table_and_says_by_its_status_what_it_found(tmp_path: Path) -> None:
    with answering(scored(lambda item: 1.0)) as url:
        told = bloomery("rl", "check", url, within=tmp_path)
        assert told.status == 0 and "held" in told.out and "BROKEN" not in told.out
    with answering(scored(lambda item: float("nan"))) as url:
        told = bloomery("rl", "check", url, "--json", within=tmp_path)
        assert told.status == 1 and json.loads(told.out)[0]["held"] is False
    assert bloomery("rl", "check", within=tmp_path).status == 2
    assert bloomery("rl", "check", f"http://127.0.0.1:{free_port()}/reward", within=tmp_path).status == 2
    told = bloomery("rl", "check", "--serve", f"127.0.0.1:{free_port()}", "--seconds", "1", within=tmp_path)
    assert told.status == 2 and "0 of 6" in told.out


def test_options_that_cannot_work_are_refused_by_their_names(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").touch()
    (tmp_path / "bytes.txt").write_bytes(b"\xff")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        for options, said in (
            (["--serve", "127.0.0.1:abc"], "`--serve 127.0.0.1:abc` is no address"),
            (["http://127.0.0.1:9", "--rollouts", "--gateway", "here"], "`--gateway here` is no address"),
            (["--serve", where], f"`{where}` cannot be listened on: Address already in use"),
            (["--serve", where, "--answers", "none.txt"], "`--answers none.txt` cannot be read: No such file"),
            (["--serve", where, "--answers", "bytes.txt"], "`--answers bytes.txt` cannot be read: it is not UTF-8"),
            (["--serve", where, "--answers", "empty.txt"], "`--answers empty.txt` is empty"),
        ):
            told = bloomery("rl", "check", *options, "--seconds", "1", within=tmp_path)
            assert told.status == 2 and said in " ".join(told.err.split()), (options, told.err)
