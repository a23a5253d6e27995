"""A grader that is out of reach is waited for, and given up with a clear cause; nothing is trained on in between.

A few answers without a score are data (they leave loss and baseline). Many in a row, or a third of the last, are an
outage: sampling stands still, one answer is sent again and again, and when it is scored all that failed are. What
counts is what comes back after the grader's own retries, so that single calls may fail as often as they like.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import cycle

from bloomery.core.errors import TrainingError
from bloomery.graders.pace import Clock
from bloomery.graders.payload import Grader, Sample, Score
from bloomery.rl.ahead import Stopped

IN_A_ROW, WINDOW, SHARE = 20, 64, 0.3
"""Answers without a score in a row, and their share of the last `WINDOW`, from which on it is an outage (rl.md 3)."""
PAUSE = 5.0
"""Seconds between two probes."""


@dataclass(slots=True)
class Patient:
    """A grader that waits for `grader`, at most `longest` seconds since it last gave a score."""

    grader: Grader
    longest: float
    say: Callable[[str], None] = lambda text: None
    clock: Clock = field(default_factory=Clock)
    failed: deque[bool] = field(default_factory=lambda: deque(maxlen=WINDOW))
    paused: float = 0.0
    """Seconds waited so far."""
    last: float | None = None
    stopping: threading.Event = field(default_factory=threading.Event)

    @property
    def name(self) -> str:
        """The inner grader's name."""
        return self.grader.name

    @property
    def verified(self) -> bool:
        """Whether the inner grader's score is checked."""
        return self.grader.verified

    def grade(self, samples: Sequence[Sample]) -> list[Score]:
        """The inner scores; where they show an outage, those of after it. Raises `TrainingError` when it lasts."""
        if self.last is None:
            self.last = self.clock.now()
        scores = self._graded(samples)
        while self.out:
            left = [n for n, score in enumerate(scores) if score.aggregate_reward_score is None]
            if not left:
                break  # the failures are of earlier steps
            self._wait([samples[n] for n in left], scores[left[0]].reason)
            again = self._graded([samples[n] for n in left])
            scores = [*scores]
            for n, score in zip(left, again, strict=True):
                scores[n] = score
        return scores

    @property
    def out(self) -> bool:
        """Whether the last answers show an outage."""
        told = [*self.failed]
        row = told[-IN_A_ROW:]
        return (len(row) == IN_A_ROW and all(row)) or (len(told) == WINDOW and sum(told) > SHARE * WINDOW)

    def _graded(self, samples: Sequence[Sample]) -> list[Score]:
        scores = self.grader.grade(samples)
        self.failed.extend(score.aggregate_reward_score is None for score in scores)
        if any(score.aggregate_reward_score is not None for score in scores):
            self.last = self.clock.now()
        return scores

    def _wait(self, probes: Sequence[Sample], reason: str) -> None:
        """Until one of the probes, asked in turn, is scored. What is remembered of the outage is forgotten then."""
        began = self.clock.now()
        self.say(f"the reward `{self.name}` gives no scores ({reason}): sampling waits for it")
        for probe in cycle(probes):
            if self.stopping.is_set():
                raise Stopped
            assert self.last is not None
            silent = self.clock.now() - self.last
            if silent >= self.longest:
                self.paused += self.clock.now() - began
                raise TrainingError(
                    f"the reward `{self.name}` gave no score for {silent:,.0f} s; its last reason: {reason}",
                    fix="repair it and `bloomery resume` the run from its last checkpoint, or raise `rollouts.outage`",
                )
            self.clock.sleep(min(PAUSE, self.longest - silent))
            (score,) = self.grader.grade([probe])
            reason = score.reason or reason
            if score.aggregate_reward_score is not None:
                self.last = self.clock.now()
                self.paused += self.last - began
                self.failed.clear()
                self.say(f"the reward `{self.name}` gives scores again after {self.last - began:,.0f} s")
                return


def heed(grader: Grader | None, *, stopping: bool) -> None:
    """Let a grader that waits know that the run is asked to stop, or that it goes on."""
    if isinstance(grader, Patient):
        (grader.stopping.set if stopping else grader.stopping.clear)()
