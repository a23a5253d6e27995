"""A policy's question to the model that is served: one of its labels, chosen by the model itself."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bloomery.engine.protocol import Answer, Grammar, Request, Sampling, Token

if TYPE_CHECKING:
    from bloomery.serve.desk import Desk

TOKENS = 64
"""Most tokens of a label."""


class Asking:
    """Asks whatever `desk` serves, once it serves. What goes wrong raises, and the policy says what follows."""

    def __init__(self) -> None:
        self.desk: Desk | None = None

    def __call__(self, question: str, labels: Sequence[str]) -> str:
        """One of the labels; the engine answers it among other requests, and a grammar lets it say nothing else."""
        if self.desk is None:
            raise RuntimeError("nothing is served yet")
        service, model, ended, answer = self.desk.service, self.desk.model, threading.Event(), Answer()

        def told(token: Token) -> None:
            answer.take(token)
            if token.ended:
                ended.set()

        prompt = self.desk.rendered([{"role": "user", "content": question}])
        form = Grammar("json_schema", json.dumps({"enum": list(labels)}))
        ticket = service.submit(Request(prompt, Sampling(TOKENS, grammar=form)), told)
        if not ended.wait(self.desk.limits.request_seconds):
            ticket.cancel()
            raise TimeoutError("the served model took too long")
        if answer.ended not in ("stop", "length"):
            raise RuntimeError(answer.error or "the served model did not answer")
        completion = answer.completion(0.0, 0.0)
        return str(json.loads(model.tokenizer.decode(completion.body, skip_special_tokens=True)))
