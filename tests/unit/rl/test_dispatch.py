"""Tasks sent to a user's server: what it is told, and that none is trained twice whatever becomes of a request."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bloomery.core.errors import InputError
from bloomery.graders.pace import Clock
from bloomery.rl.config import PushSettings
from bloomery.rl.dispatch import Dispatcher, terms_of
from bloomery.rl.journal import Journal
from bloomery.rl.leases import Task, digest
from bloomery.rl.scores import Reported
from bloomery.serve.errors import Refusal

HURRIED = Clock(now=lambda: time.monotonic() * 100, sleep=lambda seconds: time.sleep(seconds / 100), spread=lambda: 0)
"""A hundred seconds in one."""
DROP = 0
"""Instead of a status: the connection ends without a reply."""


class Server:
    """A rollout server that answers as told: a status for each try, the last one for all later ones."""

    def __init__(self, *statuses: int, health: Callable[[], bytes] = lambda: b'{"status": "healthy"}') -> None:
        self.statuses, self.health, self.got, self.headers = list(statuses), health, list[Any](), list[Any]()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(200, outer.health())

            def do_POST(self) -> None:
                outer.headers.append(dict(self.headers))
                outer.got.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                status = outer.statuses[min(len(outer.got), len(outer.statuses)) - 1]
                if status != DROP:
                    self._answer(status, b'{"status": "accepted"}')

            def _answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()


@contextmanager
def pushing(folder: Path, server: Server, tasks: int = 1, **options: Any) -> Iterator[tuple[Journal, Dispatcher]]:
    """A dispatcher at work on `tasks` rollouts, a hundred times as fast as time."""
    settings = PushSettings(server.url, "http://gateway:1", private=True, rate_limit=1000, **options)
    journal = Journal(folder / "journal.sqlite", terms_of(settings))
    journal.put([Task(f"r{number}", "g", {"messages": [], "n": number}) for number in range(tasks)]).result()
    dispatcher = Dispatcher(journal, settings, "my run!", {"temperature": 1.0, "max_tokens": 9}, clock=HURRIED)
    dispatcher.start()
    try:
        yield journal, dispatcher
    finally:
        dispatcher.close()
        server.http.shutdown()
        journal.close()


def until(true: Callable[[], bool]) -> None:
    for _ in range(1000):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("it never came")


def status(journal: Journal) -> dict[str, Any]:
    return journal.status("r0").result()


def test_a_task_arrives_in_sagemakers_shape_with_a_key_for_those_who_have_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVER_TOKEN", "secret-of-the-server")
    server = Server(200)
    with pushing(tmp_path, server, token={"env": "SERVER_TOKEN"}) as (journal, _):
        until(lambda: bool(server.got))
        [told] = server.got
        metadata = told.pop("metadata")
        assert told == {
            "instance": {"messages": [], "n": 0}, "inference_params": {"temperature": 1.0, "max_tokens": 9},
            "model_name": "policy", "model_endpoint": "http://gateway:1/v1",
        }  # fmt: skip
        assert metadata["job_arn"] == "arn:aws:sagemaker:us-east-1:000000000000:job/AgenticRFT/my-run"
        assert metadata["endpoint"] == "http://gateway:1" and metadata["lease_s"] == 600
        assert metadata["trajectory_id"] == digest(metadata["session_key"])
        assert journal.find(metadata["session_key"]).result().state == "leased"  # type: ignore[union-attr]
        assert server.headers[0]["Authorization"] == "Bearer secret-of-the-server"
        assert server.headers[0]["Idempotency-Key"] == metadata["trajectory_id"]


def test_a_server_that_takes_nothing_is_waited_for_and_no_attempt_is_spent(tmp_path: Path) -> None:
    server = Server(503, 429, 404, 200)
    with pushing(tmp_path, server) as (journal, _):
        until(lambda: len(server.got) == 4)
        until(lambda: status(journal)["state"] == "leased")
        assert [told["metadata"]["attempt"] for told in server.got] == [1, 1, 1, 1]
        keys = [told["metadata"]["session_key"] for told in server.got]
        assert [journal.find(key).result() is not None for key in keys] == [False, False, False, True]


def test_a_lost_acknowledgement_never_becomes_two_trained_rollouts(tmp_path: Path) -> None:
    server = Server(DROP, 200)
    with pushing(tmp_path, server) as (journal, _):
        until(lambda: len(server.got) == 2)
        zombie, fresh = (journal.find(told["metadata"]["session_key"]).result() for told in server.got)
        assert zombie and fresh and (zombie.number, zombie.state, fresh.number) == (1, "expired", 2)
        for call in (lambda: journal.begin(zombie.id), lambda: journal.seal(zombie.id, "ready")):
            with pytest.raises(Refusal) as told:
                call().result()
            assert told.value.status == 410
        with pytest.raises(Refusal):
            journal.reward(zombie.id, Reported(1.0)).result()
        journal.reward(fresh.id, Reported(0.5)).result()
        assert status(journal)["reward"] == 0.5 and status(journal)["attempt"] == 2


def test_a_server_that_called_the_model_has_the_task_though_its_answer_was_lost(tmp_path: Path) -> None:
    server = Server(504)
    hold = threading.Event()
    answer = server.health
    server.health = lambda: (hold.wait(10), answer())[1]
    with pushing(tmp_path, server) as (journal, dispatcher):
        real = journal.lost
        seen = threading.Event()

        def lost(attempt: int) -> Any:
            journal.begin(attempt).result()  # its call was faster than the news of the lost answer
            seen.set()
            return real(attempt)

        journal.lost = lost  # type: ignore[method-assign]
        hold.set()
        assert seen.wait(10)
        time.sleep(0.05)
        assert (status(journal)["state"], status(journal)["attempt"], len(server.got)) == ("running", 1, 1)
        assert dispatcher.error is None
        lease = "select lease from attempt"
        [left] = journal._writer.do(lambda db: db.execute(lease).fetchone()).result()
        assert left - journal.clock() < 121  # not the 600 s that a server gets whose connection stands


@pytest.mark.parametrize(
    ("reply", "tries", "reason"),
    [(422, 1, "task failure: the server answered with status 422"), (500, 3, "infrastructure failure")],
)
def test_a_refused_task_has_no_score_and_a_failing_server_gets_fresh_attempts(
    tmp_path: Path, reply: int, tries: int, reason: str
) -> None:
    server = Server(reply)
    with pushing(tmp_path, server) as (journal, _):
        until(lambda: status(journal)["train_state"] == "unscorable")
        assert reason in status(journal)["reason"]
        assert len({told["metadata"]["trajectory_id"] for told in server.got}) == len(server.got) == tries


def test_no_more_than_so_many_are_under_way(tmp_path: Path) -> None:
    server = Server(200)
    with pushing(tmp_path, server, tasks=5, concurrency=2) as (journal, _):
        until(lambda: len(server.got) == 2)
        time.sleep(0.3)
        assert len(server.got) == 2
        first = journal.find(server.got[0]["metadata"]["session_key"]).result()
        assert first is not None
        journal.seal(first.id, "aborted").result()
        until(lambda: len(server.got) == 3)


def test_what_a_killed_trainer_had_sent_and_nobody_called_back_for_is_sent_anew(tmp_path: Path) -> None:
    server = Server(200)
    settings = PushSettings(server.url, "http://gateway:1")
    journal = Journal(tmp_path / "journal.sqlite", terms_of(settings))
    journal.put([Task("r0", "g", {})]).result()
    [old] = journal.claim("push").result()
    journal.close()
    with pushing(tmp_path, server) as (journal, _):
        until(lambda: bool(server.got))
        assert server.got[0]["metadata"]["attempt"] == 2
        assert journal.find(old.key).result().state == "expired"  # type: ignore[union-attr]


def test_an_unhealthy_server_gets_nothing_and_ends_the_run_in_the_end(tmp_path: Path) -> None:
    server = Server(200, health=lambda: b'{"status": "starting"}')
    with pushing(tmp_path, server, outage=20) as (journal, dispatcher):
        until(lambda: dispatcher.error is not None)
        assert server.got == [] and status(journal)["state"] == "queued"
        assert isinstance(dispatcher.error, InputError)
        assert "has taken no task for" in str(dispatcher.error) and "`starting`" in str(dispatcher.error)


def test_an_address_that_may_not_be_reached_is_told_at_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite")
    dispatcher = Dispatcher(journal, PushSettings("http://127.0.0.1:9", "http://gateway:1"), "run", {})
    dispatcher.start()
    until(lambda: dispatcher.error is not None)
    assert "private: true" in str(dispatcher.error)
    journal.close()


def test_a_fault_of_ours_while_a_task_is_sent_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise KeyError("ours")

    monkeypatch.setattr("bloomery.rl.dispatch.rollout_request", fails)
    with pushing(tmp_path, Server(200)) as (_, dispatcher):
        until(lambda: dispatcher.error is not None)
        assert isinstance(dispatcher.error, KeyError)
