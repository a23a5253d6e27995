"""The dispatcher: sends tasks to the user's server, which calls the gateway back as any orchestrator does.

It claims from the same journal as they do, and is the only place that tries again:

- not taken (no connection, 429, 503): the task goes back to the queue, and all wait for the server;
- taken, or perhaps taken: the attempt is the server's until its lease is over. Where nobody knows whether it was, the
  attempt is given up unless the server has called the model in it, and a fresh one is sent: a server that has the task
  after all hears 410, so that no rollout is trained twice;
- refused (another 4xx): the task is at fault, and the rollout has no score.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any, Literal

from bloomery.core.errors import InputError
from bloomery.core.http import Access, Caps, Http, HttpError, Reply
from bloomery.core.secret import Secret
from bloomery.graders.pace import Clock, Rate, backoff, retry_after
from bloomery.rl.config import PushSettings
from bloomery.rl.journal import Journal
from bloomery.rl.leases import Claim, Terms
from bloomery.rl.scores import Failure
from bloomery.rl.wire import ClaimedTask
from bloomery.serve.errors import Refusal

WORKER = "push"
LOOK = 0.1
"""Seconds between looks at the queue."""
REGION = "us-east-1"
NOT_TAKEN = (408, 425, 429, 503)
"""The server is there, and has not taken the task."""
NOT_THERE = (301, 302, 303, 307, 308, 401, 403, 404, 405)
"""Whoever answers is not the server, or does not know us: no task is at fault."""
UNKNOWN = (502, 504)
"""Something between us and the server does not know either."""
Trouble = Literal["busy", "away", "refusing"]
WELL = ("healthy", "ok", "up")


def terms_of(settings: PushSettings) -> Terms:
    """A server may be silent for as long as a rollout may take: SageMaker's contract has no heartbeat."""
    return Terms(lease=settings.seconds, call=settings.seconds, attempts=settings.tries)


def job_arn(name: str) -> str:
    """A name as clients of SageMaker carry it with them; nothing here reads it."""
    plain = "".join(c if c.isascii() and c.isalnum() else "-" for c in name).strip("-")[:60] or "run"
    return f"arn:aws:sagemaker:{REGION}:000000000000:job/AgenticRFT/{plain}"


def rollout_request(task: ClaimedTask, job: str, model: str) -> dict[str, Any]:
    """The body of `POST /rollout`, as SageMaker's trainer sends it; what is ours beside it stands in `metadata`."""
    ours = task.model_dump(include={"rollout_id", "group_id", "attempt", "session_key", "lease_s", "limits"})
    named = {"job_arn": job, "trajectory_id": task.trajectory_id, "endpoint": task.base_url, "region": REGION}
    return {
        "instance": task.task,
        "metadata": named | ours,
        "inference_params": task.sampling,
        "model_name": model,
        "model_endpoint": f"{task.base_url}/v1",
    }


class Dispatcher:
    """Sends what the journal has queued. `error` is what ended it, for the thread that waits for rollouts.

    `sampling` is what the server is told about it; `say` tells a person that the server is away.
    """

    def __init__(
        self, journal: Journal, settings: PushSettings, job: str, sampling: dict[str, Any], *,
        say: Callable[[str], None] = lambda text: None, clock: Clock | None = None, model: str = "policy",
    ) -> None:  # fmt: skip
        self.error: BaseException | None = None
        self._journal, self._settings, self._say = journal, settings, say
        self._job, self._sampling, self._model = job_arn(job), sampling, model
        self._clock = clock or Clock()
        self._rate = Rate(settings.rate_limit, self._clock)
        access, caps = (
            Access(settings.private, tuple(settings.hosts)),
            Caps(read=settings.seconds, total=settings.seconds),
        )
        self._rollout, self._health = Http(access, caps), Http(access, Caps(read=10, total=10))
        self._lock = threading.Lock()
        self._since: dict[Trouble, float] = {}
        """Since when the server is not seen, or refuses all tasks."""
        self._well, self._next, self._failed = False, self._clock.now(), 0
        """Whether it was healthy when last asked, when it is asked next, how often in a row it took nothing."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bloomery-dispatcher", daemon=True)

    def start(self) -> None:
        """Begin; what an earlier process claimed and nobody has called back for is sent anew."""
        self._thread.start()

    def close(self) -> None:
        """Send nothing more."""
        self._stop.set()
        self._thread.join(30)

    def _run(self) -> None:
        try:
            for attempt in self._journal.under_way(WORKER).result():
                self._journal.lost(attempt.id).result()
            while not self._stop.is_set():
                if not self._there() or not self._sent_one():
                    self._stop.wait(LOOK)
        except BaseException as error:  # the thread that waits for rollouts raises it
            self.error = error

    def _sent_one(self) -> bool:
        if len(self._journal.under_way(WORKER).result()) >= self._settings.concurrency:
            return False
        claims = self._journal.claim(WORKER).result()
        for claim in claims:
            self._rate.wait()
            # A thread each, since many servers answer only when the rollout is over; it must not keep the process.
            threading.Thread(target=self._deliver, args=(claim,), daemon=True).start()
        return bool(claims)

    def _there(self) -> bool:
        """Whether the server takes tasks, as far as is known."""
        with self._lock:
            if self._well or self._clock.now() < self._next:
                return self._well and self._clock.now() >= self._next
        problem = self._problem()
        if problem:
            self._hold(problem, "away")
            return False
        with self._lock:
            self._well = True
            self._since.pop("away", None)
        return True

    def _problem(self) -> str:
        """What is wrong with the server's health; empty for nothing."""
        try:
            reply = self._health.send("GET", f"{self._settings.url.rstrip('/')}/health", self._headers())
        except HttpError as error:
            if error.kind == "refused":
                raise InputError(f"`rollouts.push.url`: {error}", fix="change it, or add `private` to it") from None
            return str(error)
        return health_problem(reply)

    def _hold(self, why: str, trouble: Trouble, wait: float | None = None) -> None:
        """Send nothing for a while. Raises `InputError` where the server has been of no use for too long."""
        with self._lock:
            now = self._clock.now()
            since = now if trouble == "busy" else self._since.setdefault(trouble, now)
            self._well, first = trouble == "busy", not self._failed
            self._next = now + backoff(min(self._failed, 10), self._clock, wait)
            self._failed += 1
        if first and trouble != "busy":
            self._say(f"rollouts wait for {self._settings.url}: {why}")
        if now - since > self._settings.outage:
            message = f"`rollouts.push.url: {self._settings.url}` has taken no task for {now - since:.0f} s: {why}"
            raise InputError(message, fix="start the server and resume the run; `bloomery rl check` says what it lacks")

    def _deliver(self, claim: Claim) -> None:
        try:
            self._posted(claim)
        except Refusal:
            pass  # the attempt is over: it was sealed, or given up, while this was on its way
        except Exception as error:  # whatever it was, the thread that waits for rollouts raises it
            self.error = error
            self._stop.set()

    def _posted(self, claim: Claim) -> None:
        attempt = claim.attempt.id
        task = ClaimedTask.of(claim, self._settings.endpoint.rstrip("/"), self._journal.terms, self._sampling)
        body = json.dumps(rollout_request(task, self._job, self._model)).encode()
        headers = self._headers() | {"Content-Type": "application/json", "Idempotency-Key": task.trajectory_id}
        try:
            reply = self._rollout.send("POST", f"{self._settings.url.rstrip('/')}/rollout", headers, body)
        except HttpError as error:
            if error.sent:
                self._journal.lost(attempt).result()
            else:
                self._journal.put_back(attempt).result()
                self._hold(str(error), "away")
            return
        self._heed(attempt, reply)

    def _heed(self, attempt: int, reply: Reply) -> None:
        status, why = reply.status, f"the server answered with status {reply.status}"
        if status in NOT_TAKEN or status in NOT_THERE:
            self._journal.put_back(attempt).result()
            self._hold(why, "busy" if status in NOT_TAKEN else "refusing", retry_after(reply.headers))
            return
        with self._lock:
            self._failed = 0
            self._since.clear()
        if status in UNKNOWN:
            self._journal.lost(attempt).result()
        elif status >= 400:
            kind: Any = "infrastructure" if status >= 500 else "task"
            self._journal.seal(attempt, "failed", Failure(kind, status >= 500, why)).result()

    def _headers(self) -> dict[str, str]:
        token = self._settings.token
        return {"Authorization": f"Bearer {Secret.parse(token).reveal()}"} if token else {}


def health_problem(reply: Reply) -> str:
    """What an answer of `GET /health` says against sending tasks; empty for nothing."""
    if reply.status != 200:
        return f"GET /health was answered with status {reply.status}"
    try:
        told = json.loads(reply.body)
    except ValueError:
        return ""
    status = told.get("status") if isinstance(told, dict) else None
    return "" if status is None or str(status).lower() in WELL else f"GET /health says `{str(status)[:40]}`"
