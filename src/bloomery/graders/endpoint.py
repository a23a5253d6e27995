"""The user's own reward server: `POST url` with a batch of answers, scores back.

An item's id stays the same however often it is sent, so a server that has scored it may answer from memory. Whatever
goes wrong, on the way, in the server or in its answer, leaves the item without a score and with a reason.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal

from bloomery.core.errors import InputError, nearest
from bloomery.core.http import Access, Caps, Http, check_url
from bloomery.core.secret import Secret
from bloomery.graders.deliver import Courier
from bloomery.graders.pace import Breaker, Clock, Rate
from bloomery.graders.payload import Sample, Score
from bloomery.graders.ranges import check_range
from bloomery.graders.replies import FORMATS, SINGLE, Verdict

Item = dict[str, Any]
GIVEN = {"given": True}
POSITIVE = ("batch", "tries", "seconds", "wait", "body", "concurrency", "rate_limit", "failures", "outage")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Scores by an HTTP server; the answers' texts leave this machine."""

    url: str
    name: str = "endpoint"
    headers: Mapping[str, Any] = field(default_factory=dict)
    """Sent with every request; a secret is written `{env: NAME}`."""
    sign: Any = None
    """`{env: NAME}`: the secret of an HMAC-SHA256 over time and body."""
    format: Literal["nova", "rewards", "number", "openai"] = "nova"
    range: Sequence[float] | None = None
    """Lowest and highest score; one outside is no score."""
    batch: int = 16
    tries: int = 4
    seconds: float = 30.0
    """What one request may take."""
    wait: float = 600.0
    """Seconds to wait for a job that the server answered with 202."""
    body: int = 1 << 20
    """Bytes of a reply."""
    concurrency: int = 32
    rate_limit: float | None = None
    """Requests a second."""
    private: bool = False
    """The server is on this machine or in a private network."""
    hosts: Sequence[str] = ()
    """Hosts that may be reached whatever their address."""
    failures: int = 20
    """Failed requests in a row after which it is only probed."""
    outage: float = 1800.0
    """Seconds without any answer after which the rest is left without scores."""
    verified: bool = True
    clock: Clock = field(default_factory=Clock, metadata=GIVEN)
    courier: Courier = field(init=False, repr=False, compare=False, default=None)  # type: ignore[assignment]

    def __post_init__(self) -> None:
        check_url(self.url)
        if self.format not in FORMATS:
            raise InputError(f"`format: {self.format}` is none{nearest(str(self.format), FORMATS)}", fix="change it")
        for key in POSITIVE:
            value = getattr(self, key)
            if value is not None and (type(value) not in (int, float) or not 0 < value < math.inf):
                raise InputError(f"`{key}: {value}` is not above zero", fix=f"change `{key}`")
        if self.range is not None:
            check_range(self.range)
        if not isinstance(self.headers, Mapping):
            raise InputError("`headers` is no mapping", fix="write `Name: value` lines under it")
        for key in ("batch", "tries", "concurrency", "failures", "body"):
            if type(getattr(self, key)) is not int:
                raise InputError(f"`{key}: {getattr(self, key)}` is no whole number", fix=f"change `{key}`")
        object.__setattr__(self, "courier", self._courier())

    def _courier(self) -> Courier:
        headers = {
            str(k): value if isinstance(value, str) else Secret.parse(value) for k, value in self.headers.items()
        }
        return Courier(
            self.url,
            headers,
            None if self.sign is None else Secret.parse(self.sign),
            FORMATS[self.format],
            Http(Access(self.private, tuple(self.hosts)), Caps(read=self.seconds, total=self.seconds, body=self.body)),
            self.tries,
            self.wait,
            Rate(self.rate_limit or math.inf, self.clock),
            Breaker(self.failures, outage=self.outage, clock=self.clock),
            self.clock,
        )

    def grade(self, samples: Sequence[Sample]) -> list[Score]:
        """The server's scores; unscorable where it gave none that is valid.

        Raises `InputError` when a secret's variable is not set.
        """
        items = _items(samples)
        size = 1 if self.format in SINGLE else self.batch
        batches = [items[start : start + size] for start in range(0, len(items), size)]
        with ThreadPoolExecutor(max(1, min(self.concurrency, len(batches)))) as pool:
            verdicts = [verdict for found in pool.map(self.courier.deliver, batches) for verdict in found]
        return [self._score(sample, verdict) for sample, verdict in zip(samples, verdicts, strict=True)]

    def _score(self, sample: Sample, verdict: Verdict) -> Score:
        score, reason = verdict.score, verdict.reason
        if score is not None and self.range is not None and not self.range[0] <= score <= self.range[1]:
            score, reason = None, f"the score {score:g} is outside `range: {list(self.range)}`"
        return Score(sample.id, score, verdict.metrics, reason)


def _items(samples: Sequence[Sample]) -> list[Item]:
    """The wire's items: the row's fields beside ours, and an id that no two of them share.

    Several answers to one prompt often have one id; the answer's own hash tells them apart, and equal answers the
    order.
    """
    counted: dict[str, int] = {}
    count: dict[str, int] = {}
    for sample in samples:
        count[sample.id] = count.get(sample.id, 0) + 1
    items = []
    for sample in samples:
        name = sample.id
        if count[name] > 1:
            name = f"{name}#{hashlib.sha256(sample.answer.encode('utf-8', 'replace')).hexdigest()[:12]}"
        counted[name] = counted.get(name, 0) + 1
        wire = name if counted[name] == 1 else f"{name}.{counted[name]}"
        items.append({**sample.metadata, **sample.payload(), "id": wire})
    return items
