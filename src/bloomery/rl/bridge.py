"""What stands between one answer and the next in token ids, worked out without reading the conversation again.

The prompt of a later turn is every id so far, as it was sent and sampled, and a bridge: what the chat template puts
after an answer, the new messages, and the opening of the next answer. To find it, the template renders a short
conversation whose last answer is a mark, followed by the new messages; the bridge is what follows the mark. What the
template does to earlier turns (it strips their thinking, or moves tools) lies before the mark and changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bloomery.core.calls import spelled_out
from bloomery.core.errors import InputError
from bloomery.evals.prompts import Prompter
from bloomery.rl.turns import Message, Place, Tree, tools_key

MARK = "bloomery"
FIRST = {"role": "user", "content": "?"}
"""What the marked answer answers: templates that want turns to alternate refuse a conversation that begins with one."""


@dataclass(frozen=True, slots=True)
class Opening:
    """A request as it goes to the engine: where it belongs, the ids that it adds, and all ids of its prompt."""

    place: Place
    tools: str
    bridge: tuple[int, ...]
    prompt: list[int]


class Bridge:
    """Prompts and bridges of one tokenizer; calls come from one thread at a time, as `Prompter` wants it."""

    def __init__(self, prompter: Prompter) -> None:
        self._prompter = prompter
        added = prompter.tokenizer.backend_tokenizer.get_added_tokens_decoder()
        self._special = {token.content: number for number, token in added.items() if token.special}
        longest = sorted(self._special, key=len, reverse=True)
        self._find = re.compile("|".join(map(re.escape, longest)) or r"(?!)")

    def opening(self, tree: Tree, messages: Sequence[Message], tools: Sequence[Message] = ()) -> Opening:
        """The prompt for a conversation that may continue one in the tree.

        Where a template does not tell how, the conversation begins another branch. Raises `InputError` for one that
        the template refuses.
        """
        key = tools_key(tools)
        place = tree.place(messages, key)
        if place.parent is not None:
            turn, before = tree.turns[place.parent], tree.ids(place.parent)
            bridge = self.after(turn.reply, before[-1], place.added, tools)
            if bridge is not None:
                return Opening(place, key, tuple(bridge), before + bridge)
            place = Place(None, "fork", tuple(messages))
        prompt = self.prompt(messages, tools)
        return Opening(place, key, tuple(prompt), prompt)

    def prompt(self, messages: Sequence[Message], tools: Sequence[Message] = ()) -> list[int]:
        """Ids of a whole conversation. Raises `InputError` for one that the template refuses."""
        return self._prompter.prompt(messages, tools)

    def after(
        self, reply: Message, last: int, added: Sequence[Message], tools: Sequence[Message] = ()
    ) -> list[int] | None:
        """Ids between an answer whose last id is `last` and the next one, with the `added` messages in between.

        They begin with the template's own end of turn unless that is `last`: an answer that was cut has none, and may
        have been ended by another token. None where the template does not tell where an answer ends.
        """
        if not self._prompter.chat:
            lines = [message["content"] + "\n" for message in spelled_out(added, ())[0]]
            return self._prompter.encoded("".join(["\n", *lines]))
        mark = _unused(MARK, [*added])
        try:
            text = self._prompter.rendered([FIRST, _marked(reply, mark), *added], tools)
        except InputError:
            return None
        _, found, rest = text.rpartition(mark)
        if not found:
            return None
        # Special tokens that messages quote are broken, so the first one after the answer is the end of its turn.
        end = self._find.search(rest)
        ids = self._prompter.encoded(rest[end.start() :] if end else rest)
        if end is None:
            return ids
        if ids[:1] != [self._special[end[0]]]:
            return None
        return ids[1:] if ids[0] == last else ids


def _marked(reply: Message, mark: str) -> Message:
    """The answer with a mark for its text and at the end of its last call: templates may show only one of them."""
    told = {**reply, "content": mark}
    if calls := [*reply.get("tool_calls", ())]:
        function = calls[-1]["function"]
        given = function["arguments"] if isinstance(function["arguments"], Mapping) else {}
        calls[-1] = {**calls[-1], "function": {**function, "arguments": {**given, mark: mark}}}
        told["tool_calls"] = calls
    return told


def _unused(mark: str, messages: Sequence[Message]) -> str:
    """A mark that stands in none of the messages."""
    text = repr(messages)
    number = 0
    while f"{mark}{number}" in text:
        number += 1
    return f"{mark}{number}"
