"""The endpoint's protocol: ids that stay, tries that end, jobs that are waited for, and what each reply means."""

from __future__ import annotations

import hashlib
import hmac
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bloomery.core.errors import InputError
from bloomery.core.http import HttpError, Reply
from bloomery.graders.endpoint import Endpoint
from bloomery.graders.load import load_grader
from bloomery.graders.pace import Breaker, Clock, Outage, Rate, backoff, retry_after
from bloomery.graders.payload import Sample, Score
from bloomery.graders.replies import FORMATS, SINGLE, Invalid, read


class Time:
    """A clock that sleeping moves."""

    def __init__(self) -> None:
        self.at, self.slept = 0.0, list[float]()
        self.clock = Clock(now=lambda: self.at, sleep=self._sleep, spread=lambda: 0.0)

    def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += seconds


Step = tuple[int, Any] | tuple[int, Any, Mapping[str, str]] | HttpError | Callable[[Any], Any]


class Server:
    """Answers by a script, one step a request, the last one again and again; keeps what it was sent."""

    def __init__(self, *steps: Step) -> None:
        self.steps, self.sent = list(steps), list[tuple[str, str, Mapping[str, str], bytes]]()

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes = b"") -> Reply:
        self.sent.append((method, url, dict(headers), body))
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        if isinstance(step, HttpError):
            raise step
        if callable(step):
            step = (200, step(json.loads(body)))
        status, value, headers = (*step, {}) if len(step) == 2 else step  # type: ignore[misc]
        return Reply(status, headers, value if isinstance(value, bytes) else json.dumps(value).encode())


def scored(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"id": item["id"], "aggregate_reward_score": 0.5} for item in items]


def rows(*names: str) -> list[Sample]:
    messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "x"}]
    return [Sample(name, messages, "r", {"topic": "sums"}) for name in names or ("a",)]


def grade(server: Server, samples: list[Sample] | None = None, time: Time | None = None, **more: Any) -> list[Score]:
    made = Endpoint("http://reward.example/score", clock=(time or Time()).clock, concurrency=1, **more)
    object.__setattr__(made.courier, "http", server)
    return made.grade(rows() if samples is None else samples)


def test_a_batch_is_the_payload_with_the_rows_own_fields_beside_it() -> None:
    server = Server(scored)
    assert [s.aggregate_reward_score for s in grade(server, rows("a", "b"))] == [0.5, 0.5]
    [(method, url, headers, body)] = server.sent
    assert (method, url) == ("POST", "http://reward.example/score") and headers["Content-Type"] == "application/json"
    first = json.loads(body)[0]
    assert first["id"] == "a" and first["reference_answer"] == first["metadata"]["reference_answer"] == "r"
    assert first["topic"] == "sums" and first["messages"][-1]["content"] == "x"


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 529])
def test_what_may_pass_is_tried_again_with_the_same_ids_and_key(status: int) -> None:
    server, time = Server((status, ""), (status, ""), scored), Time()
    assert grade(server, time=time)[0].aggregate_reward_score == 0.5
    assert len({body for *_, body in server.sent}) == len({h["Idempotency-Key"] for _, _, h, _ in server.sent}) == 1
    assert time.slept == [0.25, 0.5]


@pytest.mark.parametrize("told", [b"<html>busy</html>", 7, [], [{"id": "x", "aggregate_reward_score": 1}]])
def test_a_reply_that_cannot_be_read_is_asked_for_again(told: Any) -> None:
    server, time = Server((200, told), (200, told), scored), Time()
    assert grade(server, time=time)[0].aggregate_reward_score == 0.5
    [score] = grade(always := Server((200, told)), time=time)
    assert score.aggregate_reward_score is None and "repl" in score.reason and len(always.sent) == 4


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 413, 422, 301, 302, 307, 204])
def test_any_other_status_is_final(status: int) -> None:
    server = Server((status, ""))
    [score] = grade(server)
    assert score.aggregate_reward_score is None and str(status) in score.reason and len(server.sent) == 1


@pytest.mark.parametrize(
    ("kind", "tries"), [("connect", 4), ("timeout", 4), ("protocol", 4), ("refused", 1), ("size", 1)]
)
def test_a_failed_request_is_tried_four_times_where_that_may_help(kind: Any, tries: int) -> None:
    server = Server(HttpError(kind, "went wrong"))
    [score] = grade(server)
    assert score.aggregate_reward_score is None and score.reason == "went wrong" and len(server.sent) == tries


def test_retry_after_is_honoured_up_to_a_minute() -> None:
    time = Time()
    grade(Server((429, "", {"retry-after": "7"}), (503, "", {"retry-after": "86400"}), scored), time=time)
    assert time.slept == [7.0, 60.0]
    assert retry_after({"retry-after": "soon"}) is retry_after({}) is None
    assert retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0.0
    assert [backoff(n, Clock(spread=lambda: 0.999)) for n in range(3)] == pytest.approx([0.5, 1, 2], rel=0.01)


def test_only_the_items_that_may_pass_are_sent_again() -> None:
    def partly(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        errors: dict[str, Any] = {
            "b": {"code": "busy", "retryable": True},
            "c": {"code": "no_rubric", "retryable": False},
        }
        good = scored(items)
        return [
            {"id": i["id"], "error": errors[i["id"]]} if i["id"] in errors else good[n] for n, i in enumerate(items)
        ]

    server = Server(partly, scored)
    a, b, c = grade(server, rows("a", "b", "c"))
    assert (a.aggregate_reward_score, b.aggregate_reward_score, c.aggregate_reward_score) == (0.5, 0.5, None)
    assert "no_rubric" in c.reason
    assert [[item["id"] for item in json.loads(body)] for *_, body in server.sent] == [["a", "b", "c"], ["b"]]


def test_replies_in_another_order_find_their_items() -> None:
    def turned(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{"id": item["id"], "aggregate_reward_score": float(item["id"])} for item in reversed(items)]

    scores = grade(Server(turned), rows("1", "2", "3"))
    assert [s.aggregate_reward_score for s in scores] == [1.0, 2.0, 3.0]


def test_answers_that_share_an_id_are_told_apart() -> None:
    same = [Sample("q", [{"role": "assistant", "content": text}]) for text in ("x", "y", "x")]
    server = Server(scored)
    assert [s.id for s in grade(server, same)] == ["q", "q", "q"]
    sent = [item["id"] for item in json.loads(server.sent[0][3])]
    assert len(set(sent)) == 3 and all(name.startswith("q#") for name in sent)


def test_a_job_is_waited_for() -> None:
    server, time = (
        Server((202, {"job": "j 1"}), (202, {}), (503, ""), (200, [{"id": "a", "aggregate_reward_score": 1}])),
        Time(),
    )
    assert grade(server, time=time)[0].aggregate_reward_score == 1.0
    assert [(m, u) for m, u, *_ in server.sent[1:]] == [("GET", "http://reward.example/score/j%201")] * 3
    assert time.slept == [1.0, 2.0, 4.0]


def test_a_job_that_never_ends_is_given_up_and_not_started_again() -> None:
    server, time = Server((202, {"job": 7})), Time()
    [score] = grade(server, time=time, wait=60)
    assert score.aggregate_reward_score is None and "longer than 60 s" in score.reason
    assert time.at == 60 and [m for m, *_ in server.sent].count("POST") == 1


@pytest.mark.parametrize("where", ["http://169.254.169.254/", "https://reward.example/score/1", "//evil.example/x"])
def test_a_job_on_another_server_is_not_followed(where: str) -> None:
    server = Server((202, {"status_url": where}))
    [score] = grade(server)
    assert score.aggregate_reward_score is None and "another server" in score.reason and len(server.sent) == 1


@pytest.mark.parametrize("told", [{}, [], "x", {"job": True}, {"job": None}, {"status_url": 3}])
def test_a_job_without_a_name_is_a_failure(told: Any) -> None:
    assert grade(Server((202, told)))[0].aggregate_reward_score is None


def test_requests_are_signed_and_carry_secrets_only_on_the_wire(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REWARD_KEY", "canary-123456")
    server = Server(scored)
    grade(server, headers={"Authorization": {"env": "REWARD_KEY"}, "X-Team": "a"}, sign={"env": "REWARD_KEY"})
    [(_, _, headers, body)] = server.sent
    assert headers["Authorization"] == "canary-123456" and headers["X-Team"] == "a"
    wanted = hmac.new(b"canary-123456", headers["X-Bloomery-Timestamp"].encode() + b"." + body, hashlib.sha256)
    assert headers["X-Bloomery-Signature"] == f"sha256={wanted.hexdigest()}"
    assert "canary" not in repr(Endpoint("http://reward.example/", headers={"Authorization": {"env": "REWARD_KEY"}}))
    monkeypatch.delenv("REWARD_KEY")
    with pytest.raises(InputError, match="REWARD_KEY"):
        grade(Server(scored), sign={"env": "REWARD_KEY"})


@pytest.mark.parametrize(
    ("form", "reply", "score"),
    [
        ("rewards", {"rewards": [0.25]}, 0.25),
        ("rewards", {"rewards": [0.25, 1]}, None),
        ("rewards", [0.25], None),
        ("rewards", {"rewards": [True]}, None),
        ("number", 0.25, 0.25),
        ("number", "0.25", None),
        ("number", [0.25], None),
        ("openai", {"reward": 0.25, "sub_rewards": {"style": 1}}, 0.25),
        ("openai", {"reward": None}, None),
        ("openai", {"reward": 0.0, "metadata": {"errors": {"sample_parse_error": True}}}, None),
        ("openai", {"score": 1}, None),
        ("nova", [{"id": "a", "aggregate_reward_score": 1, "metrics_list": "none"}], 1.0),
        ("nova", {"id": "a", "aggregate_reward_score": 1}, None),
        ("nova", [{"id": "a", "aggregate_reward_score": math.nan}], None),
        ("nova", [{"id": "a", "aggregate_reward_score": 10**400}], None),
        ("nova", [{"id": "a"}], None),
        ("nova", b'[{"id": "a", "aggregate_reward_score": 0, "aggregate_reward_score": 1}]', None),
        ("nova", b"\xff[]", None),
    ],
)
def test_each_format_is_read_strictly(form: Any, reply: Any, score: float | None) -> None:
    [got] = grade(Server((200, reply)), format=form)
    assert got.aggregate_reward_score == score and bool(got.reason) == (score is None)


def test_a_score_outside_its_range_is_none() -> None:
    reply = [{"id": "a", "aggregate_reward_score": 1.01}]
    assert grade(Server((200, reply)), range=[0, 1])[0].aggregate_reward_score is None
    assert grade(Server((200, reply)))[0].aggregate_reward_score == 1.01


def test_a_server_that_is_down_is_probed_then_given_up() -> None:
    server, time = Server(HttpError("connect", "nobody")), Time()
    scores = grade(server, rows(*map(str, range(400))), time, batch=1, failures=20, outage=600)
    assert all(score.aggregate_reward_score is None for score in scores)
    assert "down" in scores[-1].reason and 600 <= time.at < 660
    assert len(server.sent) < 200  # probes, not four tries for each of 400


def test_a_server_that_comes_back_scores_the_rest() -> None:
    server, time = Server(*[HttpError("connect", "nobody")] * 30, scored), Time()
    scores = grade(server, rows(*map(str, range(50))), time, batch=1, failures=20)
    assert scores[-1].aggregate_reward_score == 0.5
    assert sum(score.aggregate_reward_score is None for score in scores) <= 8


def test_a_breaker_lets_one_probe_through_at_a_time() -> None:
    time = Time()
    breaker = Breaker(failures=2, pause=5, outage=100, clock=time.clock)
    for _ in range(2):
        breaker.enter()
        breaker.note(answered=False)
    breaker.enter()
    assert time.at == 5  # the probe had to wait
    breaker.enter()
    assert time.at == 10  # the next one, while the first is out
    breaker.note(answered=True)
    breaker.enter()
    assert time.at == 10
    for _ in range(2):
        breaker.note(answered=False)
    time.at = 200
    breaker.enter()
    with pytest.raises(Outage):
        breaker.enter()


def test_a_rate_is_kept_on_average_and_bursts_for_a_second() -> None:
    time = Time()
    rate = Rate(10, time.clock)
    for _ in range(40):
        rate.wait()
    assert time.at == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"url": "ftp://x/"}, "neither http"),
        ({"url": "http://a:b@x/"}, "user or password"),
        ({"format": "novas"}, "did you mean `nova`"),
        ({"range": [1, 0]}, "no range"),
        ({"batch": 0}, "not above zero"),
        ({"batch": 1.5}, "no whole number"),
        ({"seconds": math.inf}, "not above zero"),
        ({"headers": {"Authorization": ["x"]}}, "secret"),
        ({"sign": "typed-in-secret"}, "secret"),
        ({"private": "yes"}, "neither true nor false"),
        ({"retries": 3}, "no key `retries`"),
    ],
)
def test_a_spec_that_cannot_work_is_refused(more: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_grader({"type": "endpoint", "url": "https://reward.example/", **more})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["a", "b"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "aggregate_reward_score", "error", "rewards", "reward", "metrics_list", "metadata"]),
            inner,
        )
    ),
    max_leaves=12,
)


@given(JSON, st.sampled_from(sorted(FORMATS)))
def test_any_json_is_a_finite_score_or_none(value: Any, form: str) -> None:
    ids = ["a"] if form in SINGLE else ["a", "b"]
    try:
        verdicts = FORMATS[form](value, ids)
    except Invalid:
        return
    assert len(verdicts) == len(ids)
    assert all((one.score is None) == bool(one.reason) for one in verdicts)
    assert all(type(one.score) is float and math.isfinite(one.score) for one in verdicts if one.score is not None)


@given(st.binary(max_size=60))
def test_any_bytes_are_json_or_invalid(body: bytes) -> None:
    try:
        read(body)
    except Invalid as error:
        assert str(error)
