"""From rows to token ids: documents to score, prompts to answer, choices to weigh."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bloomery.core.calls import spelled_out
from bloomery.core.errors import InputError, Where
from bloomery.core.rows import Ids, TokenRow
from bloomery.core.template import END, START, Conversation, TemplateFault
from bloomery.data.quoted import BREAK, Quotes
from bloomery.evals.suites import Row
from bloomery.graders.payload import text_of
from bloomery.models.template import template_of, unmarked


@dataclass(frozen=True, slots=True)
class Scored:
    """Ids int32[T] of which those from `start` on count, and the bytes of UTF-8 text they stand for."""

    ids: Ids
    start: int
    text_bytes: int


def _flat(messages: Sequence[Row]) -> list[Row]:
    return [{**message, "content": text_of(message)} for message in messages]


class Prompter:
    """Renders rows with one tokenizer, as training does: special tokens in text are plain characters.

    The chat template runs in a process of its own, which starts with the first conversation and ends with this object.
    """

    def __init__(self, tokenizer: Any, render: str) -> None:
        self.tokenizer = tokenizer
        self._quotes = Quotes(tokenizer.backend_tokenizer)
        self._template = template_of(tokenizer)
        self.chat = render == "chat" or (render == "auto" and self._template is not None)
        if self.chat and self._template is None:
            raise InputError(
                "`render: chat` needs a chat template, and the tokenizer has none", fix="use `render: plain`"
            )
        empty = tokenizer("", add_special_tokens=True)["input_ids"]
        bos = tokenizer.bos_token_id
        self.bos = [bos] if bos is not None and bos in empty else []

    def texts(self, texts: Sequence[str]) -> list[Scored]:
        """Documents. The end token has no bytes and is not scored, nor is a first token that nothing predicts."""
        encoded = self._encode(list(texts), split_special_tokens=True, return_offsets_mapping=not self.bos)
        documents = []
        for number, text in enumerate(texts):
            ids = [*self.bos, *encoded["input_ids"][number]]
            unseen = 0 if self.bos or not ids else encoded["offset_mapping"][number][0][1]
            documents.append(Scored(np.array(ids, np.int32), 1, len(text[unseen:].encode())))
        return documents

    def answered(self, row: Row) -> Scored:
        """A conversation's last answer, or a row's response, given what comes before it."""
        messages, answer = split_answer(row)
        prompt, response = self.prompt(messages), self._plain(answer)
        return Scored(np.array([*prompt, *response], np.int32), max(len(prompt), 1), len(answer.encode()))

    def continued(self, messages: Sequence[Row], prompt: int) -> Scored:
        """A conversation given its first `prompt` messages. What follows counts whole: with several turns, the user's
        too, which are the same text on both sides of most pairs."""
        before = self.prompt(messages[:prompt])
        if not self.chat:
            said = self._plain("\n".join(map(text_of, messages[prompt:])))
            return Scored(np.array([*before, *said], np.int32), max(len(before), 1), 0)
        *earlier, answer = messages
        whole = [*self.prompt(earlier), *self._plain(text_of(answer))]
        return Scored(np.array(whole, np.int32), max(len(before), 1), 0)

    def text(self, text: str) -> list[int]:
        """Ids of a text as documents begin; special tokens in it are plain characters."""
        return [*self.bos, *self._plain(text)]

    def prompt(self, messages: Sequence[Row], tools: Sequence[Row] = ()) -> list[int]:
        """Ids of a conversation up to where the assistant answers; plain: its texts, a line each."""
        if not self.chat:
            told, _ = spelled_out(_flat(messages), tools)
            return self.text("".join(message["content"] + "\n" for message in told))
        ids = self.encoded(self.rendered(messages, tools))
        return ids if ids[:1] == self.bos else [*self.bos, *ids]

    def asked(self, row: Row, context: int) -> tuple[list[int], str]:
        """(ids of a row's prompt, why it cannot be answered within the context: empty where it can)."""
        try:
            ids = self.prompt(messages_of(row))
        except InputError as error:
            return [], error.message
        fits = 0 < len(ids) < context
        return ids, "" if fits else f"its prompt has {len(ids):,} tokens; the context holds {context:,} with the answer"

    def rendered(self, messages: Sequence[Row], tools: Sequence[Row] = ()) -> str:
        """A conversation as the chat template writes it, up to where the assistant answers.

        Calls and tools that the template does not know are text (`core/calls.py`). Special tokens that a message quotes
        are broken, so those that are whole are the template's (`data/quoted.py`).
        Raises `InputError` where the template refuses it, or there is none.
        """
        source = "" if self._template is None else self._template.source
        return self._rendered(*spelled_out(_flat(messages), tools, source))

    def encoded(self, text: str) -> list[int]:
        """Ids of rendered text or of a part of it; what is broken in it is read as plain characters."""
        ids: list[int] = self._quotes.encode(text).ids if BREAK in text else self._encode(text)["input_ids"]
        return ids

    def choice(self, row: Row) -> list[Scored]:
        """One candidate a choice: the prompt with that answer."""
        prompt = self.prompt(messages_of(row))
        return [
            Scored(np.array([*prompt, *self._plain(text)], np.int32), max(len(prompt), 1), len(text.encode()))
            for text in row["choices"]
        ]

    def _rendered(self, messages: Sequence[Row], tools: Sequence[Row]) -> str:
        if self._template is None:
            raise InputError("the tokenizer has no chat template", fix="use one that has")
        if _holds_mark([messages, tools]):
            raise InputError("holds a noncharacter (U+FDD0 to U+FDD2), which no text should")
        quoted, offered = self._quotes.broken(list(messages)), self._quotes.broken(list(tools))
        try:
            [found] = self._template([Conversation(quoted, offered, prompt=True)])
        except TemplateFault as fault:
            fault.where = Where(self.tokenizer.name_or_path or "the tokenizer")
            raise
        if found.error is not None:
            raise InputError(f"the chat template refuses this conversation: {found.error}")
        return unmarked(found)

    def _plain(self, text: str) -> list[int]:
        ids: list[int] = self._encode(text, split_special_tokens=True)["input_ids"]
        return ids

    def _encode(self, text: str | list[str], **options: bool) -> Any:
        """Without a warning of texts longer than the context: they are scored in windows, or refused by the engine."""
        return self.tokenizer(text, add_special_tokens=False, verbose=False, **options)


def _holds_mark(value: Any) -> bool:
    """Whether a string anywhere in JSON holds a character that marks something for us."""
    if isinstance(value, str):
        return any(mark in value for mark in (START, END, BREAK))
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return any(_holds_mark(one) for one in inner)


def messages_of(row: Row) -> list[Row]:
    """The row's conversation, its own closing answer left out."""
    if row.get("messages") is None:
        return [{"role": "user", "content": row["prompt"]}]
    messages = list(row["messages"])
    return messages[:-1] if messages and messages[-1].get("role") == "assistant" else messages


def split_answer(row: Row) -> tuple[list[Row], str]:
    """(what comes before the answer, the answer). Raises `InputError` for a conversation that does not end in one."""
    if row.get("messages") is None:
        return messages_of(row), str(row["response"])
    if not row["messages"] or row["messages"][-1].get("role") != "assistant":
        raise InputError(f"row `{row.get('id')}` does not end with an answer, so it has no bits to count")
    return messages_of(row), text_of(row["messages"][-1])


def windows(scored: Scored, context: int, name: str) -> list[tuple[TokenRow, int]]:
    """Cut to rows of at most `context` tokens, each with the first position that counts in it.

    A row begins with the last token of the one before, so that every token is predicted exactly once;
    what lies further back is not seen. bits per byte of long documents is therefore an upper bound.
    """
    rows = []
    begin = 0
    while begin == 0 or begin < len(scored.ids) - 1:
        ids = scored.ids[begin : begin + context]
        if not len(ids):
            break
        rows.append((TokenRow(ids, {}, f"{name}:{begin}", name, name), max(scored.start - begin, 1)))
        begin += context - 1
    return rows
