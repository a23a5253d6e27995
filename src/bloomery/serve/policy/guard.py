"""The guard that a policy is: conversations before they are answered, answers while they stream."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bloomery.graders.load import NOTHING, Given
from bloomery.graders.payload import text_of
from bloomery.serve.policy.category import Armed, arm
from bloomery.serve.policy.decision import RANK, Decision
from bloomery.serve.policy.load import Loaded
from bloomery.serve.policy.values import cut_out, parsed, texts_in, with_arguments, with_texts
from bloomery.serve.policy.watch import Finding, Pass, PolicyWatch
from bloomery.serve.policy.whole import Ask, Messages

Told = Callable[[Finding, str], None]
Message = Mapping[str, Any]
OPERATOR = ("system", "developer")
"""Roles whose text is the operator's own: only the floor looks at it."""


class PolicyGuard:
    """A policy with its detectors ready. Thread-safe: every check has its own state.

    User and tool messages are input, assistant messages output with the arguments of their calls, also those of earlier
    turns. A judge, an endpoint or a question to the model looks at the last message, with those before it.
    """

    def __init__(
        self,
        loaded: Loaded,
        log: Callable[[dict[str, Any]], None],
        ask: Ask | None = None,
        given: Given = NOTHING,
    ) -> None:
        self.loaded, self._log = loaded, log
        self.categories = arm(loaded, ask, given)
        # Keyed, because a card number can be guessed from a plain hash of it; new at every start.
        self._key = secrets.token_bytes(32)
        for role in ("assistant", "user", *OPERATOR):  # what they look for together is compiled now, not with a request
            Pass(self._looking(role), (), role, lambda finding, text: None)

    def check_input(self, messages: Messages, request: str = "") -> Decision:
        """The strongest decision over all messages; among equal ones the floor's.

        The `text` of a `mask` or `review` is the last user message, masked; `masked` gives the whole conversation so.
        """
        decision, _ = self._checked(messages, request or secrets.token_hex(8), self._log)
        return decision

    def masked(self, messages: Messages) -> list[dict[str, Any]]:
        """The messages as the model may read them, with everything masked that the policy masks."""
        return self._checked(messages, "", lambda event: None)[1]

    def watch(self, messages: Messages, request: str = "") -> PolicyWatch:
        """A watch over the answer to `messages`."""
        told = self._told(request or secrets.token_hex(8), "output", self._log)
        return PolicyWatch(Pass(self._looking("assistant"), messages, "assistant", told))

    @property
    def name(self) -> str:
        """What guards: the floor alone, or a policy over it."""
        return "floor and policy" if self.loaded.policy.categories else "floor"

    def _checked(
        self, messages: Messages, request: str, log: Callable[[dict[str, Any]], None]
    ) -> tuple[Decision, list[dict[str, Any]]]:
        strongest, masked = Decision("allow"), []
        last_user = max((n for n, message in enumerate(messages) if message.get("role") == "user"), default=-1)
        shown = ""
        for number, message in enumerate(messages):
            role, text = str(message.get("role", "user")), text_of(message)
            told = self._told(request, "output" if role == "assistant" else "input", log)
            last = number == len(messages) - 1
            run = Pass(self._looking(role), messages[:number], role, told, last)
            released, _ = run.feed(text, final=True)
            changed = run.decision.action != "block" and released != text
            inside, own = self._inside(message, role, released, told)
            masked.append({**message, **({"content": released} if changed else {}), **own})
            shown = released if number == last_user else shown
            strongest = max(strongest, run.decision, inside, key=self._strength)
        return replace(strongest, text=shown) if strongest.action in ("mask", "review") else strongest, masked

    def inspected(self, values: Sequence[Any], request: str = "") -> tuple[Decision, list[Any]]:
        """The strongest decision over the texts in JSON values that a model gave as arguments; the values, masked."""
        return self._values(values, "assistant", self._told(request or secrets.token_hex(8), "output", self._log))

    def _inside(self, message: Message, role: str, text: str, told: Told) -> tuple[Decision, dict[str, Any]]:
        """What becomes of a message's calls, or of JSON in a result that escapes what it says; what changes in it."""
        if calls := message.get("tool_calls"):
            given = [parsed(call["function"].get("arguments")) for call in calls]
            decision, after = self._values(given, role, told)
            if after == given:
                return decision, {}
            return decision, {"tool_calls": [with_arguments(*pair) for pair in zip(calls, after, strict=True)]}
        if role == "tool" and "\\" in text and isinstance(value := parsed(text), dict | list):
            decision, [after] = self._values([value], role, told)
            return decision, {} if after == value else {"content": json.dumps(after, ensure_ascii=False)}
        return Decision("allow"), {}

    def _values(self, values: Sequence[Any], role: str, told: Told) -> tuple[Decision, list[Any]]:
        texts = [text for value in values for text in texts_in(value)]
        run = Pass(self._looking(role), (), role, told, last=False)
        run.feed("\n".join(texts), final=True)
        hidden = [(span.start, span.end) for span in run.hidden]
        kept = iter(cut_out(texts, hidden, self.loaded.policy.mask))
        return run.decision, [with_texts(value, kept) for value in values]

    def _looking(self, role: str) -> Sequence[Armed]:
        """The categories that look at what a role says."""
        if role in OPERATOR:
            return [category for category in self.categories if category.floor]
        output = role == "assistant"
        return [category for category in self.categories if (category.outputs if output else category.inputs)]

    def _strength(self, decision: Decision) -> tuple[int, bool]:
        return RANK[decision.action], decision.category in self.loaded.floor

    def _told(self, request: str, side: str, log: Callable[[dict[str, Any]], None]) -> Told:
        def told(finding: Finding, found: str) -> None:
            event: dict[str, Any] = {
                "event": "policy",
                "request": request,
                "side": side,
                "category": finding.category.name,
                "floor": finding.category.floor,
                "severity": finding.category.severity,
                "detector": finding.detector,
                "action": finding.action,
                "reason": finding.reason,
                "start": finding.span.start,
                "end": finding.span.end,
                "span_hash": hmac.new(self._key, found.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest(),
                "policy": self.loaded.hash,
            }
            log(event | ({"text": found, "words": finding.words} if self.loaded.policy.log_text else {}))

        return told
