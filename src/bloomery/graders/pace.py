"""How often, how long and how patiently a server is asked: backoff, a rate, and a breaker for when it is down."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
LONGEST_RETRY_AFTER = 60.0
"""Seconds: a server may ask for patience, not for a day of it."""


@dataclass(frozen=True, slots=True)
class Clock:
    """Time and sleeping, given so that tests need not wait."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    spread: Callable[[], float] = random.random
    """A number in [0, 1) for jitter: without it, all who failed together would come back together."""


def backoff(attempt: int, clock: Clock, asked: float | None = None) -> float:
    """Seconds before try `attempt` + 1 (from 0): doubling, half of it at random; what the server asked for if longer.

    Exponential backoff with "equal jitter" (Brooker, AWS Architecture Blog, 2015).
    """
    pause = min(LONGEST_PAUSE, FIRST_PAUSE * math.pow(2, attempt))
    return max(pause / 2 + clock.spread() * pause / 2, min(asked or 0.0, LONGEST_RETRY_AFTER))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that `Retry-After` asks for, as a number or a date (RFC 9110); None where it says neither."""
    text = headers.get("retry-after", "").strip()
    try:
        if text.isdecimal():
            return float(text[:9])
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds()) if text else None
    except (ValueError, TypeError, OverflowError):
        return None


@dataclass
class Rate:
    """A token bucket: `per_second` requests on average, a second's worth at once."""

    per_second: float = math.inf
    clock: Clock = field(default_factory=Clock)
    _free_at: float = -math.inf
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def wait(self) -> None:
        """Sleep until the next request may go."""
        if self.per_second == math.inf:
            return
        with self._lock:
            now = self.clock.now()
            burst = max(1.0, self.per_second) / self.per_second
            # The bucket as the time at which it would be full again: one request moves it by its share.
            self._free_at = max(self._free_at, now) + 1 / self.per_second
            pause = self._free_at - burst - now
        if pause > 0:
            self.clock.sleep(pause)


class Outage(Exception):
    """The server has been down for longer than the user is ready to wait."""


@dataclass
class Breaker:
    """Stops asking a server that keeps failing: after `failures` in a row, one probe every `pause` seconds.

    While a probe is out or due later, the others wait. Once no answer has come for `outage` seconds, all are told, and
    every later request is one probe, whose success closes the matter.
    """

    failures: int = 20
    pause: float = 5.0
    outage: float = 1800.0
    clock: Clock = field(default_factory=Clock)
    _failed: int = 0
    _since: float = 0.0
    _next: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def enter(self) -> None:
        """Wait for leave to ask. Raises `Outage`."""
        while True:
            with self._lock:
                if self._failed < self.failures:
                    return
                now = self.clock.now()
                if now >= self._next:
                    self._next = now + self.pause
                    return  # the probe
                if now - self._since >= self.outage:
                    raise Outage(f"it has not answered for {now - self._since:.0f} s")
                pause = self._next - now
            self.clock.sleep(pause)

    def note(self, answered: bool) -> None:
        """Tell how it went. An answer of any kind that is not an outage's closes the breaker."""
        with self._lock:
            if answered:
                self._failed = 0
                return
            now = self.clock.now()
            self._since = self._since if self._failed else now
            self._failed += 1
            if self._failed >= self.failures:
                self._next = now + self.pause
