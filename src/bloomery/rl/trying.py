"""`bloomery rl check`: which check its options ask for, made ready."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bloomery.core.errors import InputError, nearest
from bloomery.core.http import Access, Caps, Http, check_url
from bloomery.core.secret import Secret
from bloomery.graders.replies import FORMATS
from bloomery.graders.rows import read_samples
from bloomery.rl.config import PushSettings
from bloomery.rl.laws import Law
from bloomery.rl.sigv4 import Signers

KEY = "BLOOMERY_TOKEN"
ACCESS, SECRET = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"
"""The pair that SageMaker's clients sign with: whoever tries one has set it."""


@dataclass(frozen=True)
class Trial:
    """The verb's options, as they were given."""

    url: str | None
    serve: str | None
    rollouts: bool
    gateway: str
    rows: Path | None
    answers: Path | None
    format: str
    token: str | None
    seconds: float

    def laws(self, say: Callable[[str], None]) -> list[Law]:
        """What was found. Raises `InputError` for options that do not fit together."""
        if (self.url is None) == (self.serve is None):
            raise InputError("give an address, or `--serve HOST:PORT`", fix="one of the two")
        if self.url is not None:
            check_url(self.url)
        if self.format not in FORMATS:
            raise InputError(f"`--format {self.format}` is none{nearest(self.format, FORMATS)}", fix="change it")
        return self._reward() if self.url is not None and not self.rollouts else self._orchestrator(say)

    def _reward(self) -> list[Law]:
        from bloomery.rl.check_reward import SAMPLE, RewardCheck

        assert self.url is not None
        headers = {"Authorization": f"Bearer {Secret(self.token).reveal()}"} if self.token else {}
        # Typed by whoever runs this: their own machine and network are theirs to try.
        http = Http(Access(private=True), Caps(read=self.seconds, total=self.seconds))
        rows = self._samples(answered=True) or [SAMPLE]
        return RewardCheck(self.url, http, headers, rows, self.format, self.seconds).laws()

    def _orchestrator(self, say: Callable[[str], None]) -> list[Law]:
        from bloomery.core.resources import families_dir
        from bloomery.models.load import load_tokenizer
        from bloomery.rl.check_orchestrator import ANSWERS, ROW, OrchestratorCheck
        from bloomery.rl.outside import address

        host, port = address(self.serve, "--serve ") if self.serve else address(self.gateway, "--gateway ")
        answers = self._answers() or ANSWERS
        key = os.environ.get(KEY) or secrets.token_urlsafe(24)
        if self.serve:
            told = "" if KEY in os.environ else f" with the key {key}"
            say(f"dealing tasks at http://{host}:{port}{told}; start the orchestrator")
        return OrchestratorCheck(
            load_tokenizer(families_dir() / "ember" / "tokenizer"), host, port, key,
            self._samples(answered=False) or [dict(ROW)], answers, seconds=self.seconds, push=self._push(), say=say,
            signers=Signers({os.environ[ACCESS]: os.environ.get(SECRET, "")} if os.environ.get(ACCESS) else {}),
        ).laws()  # fmt: skip

    def _answers(self) -> list[str]:
        """The lines of the file; none without one."""
        if self.answers is None:
            return []
        try:
            lines = self.answers.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise InputError(f"`--answers {self.answers}` cannot be read: {why}", fix="name a text file") from None
        if not lines:
            raise InputError(f"`--answers {self.answers}` is empty", fix="write what the model says, a line each")
        return lines

    def _push(self) -> PushSettings | None:
        if self.url is None:
            return None
        token = {"env": self.token} if self.token else None
        return PushSettings(
            self.url, f"http://{self.gateway}", seconds=self.seconds, outage=self.seconds, token=token, private=True
        )

    def _samples(self, answered: bool) -> Sequence[dict[str, Any]]:
        """The rows of the file: answered ones to be judged, or all as tasks, without their answers."""
        if self.rows is None:
            return []
        samples, has = read_samples(self.rows)
        pairs = zip(samples, has, strict=True)
        if answered:
            found = [{**sample.metadata, **sample.payload()} for sample, one in pairs if one]
        else:
            found = [
                {**s.metadata, **s.payload(), "messages": [*s.messages[: -1 if one else None]]} for s, one in pairs
            ]
        if not found:
            raise InputError(f"`--rows {self.rows}` holds no answered row", fix="give rows with a response")
        return found
