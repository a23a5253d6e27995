"""Examples to token ids and the mask of trained tokens.

Text: `[bos] ids eos`, every token trained but the first (nothing predicts it). Conversations: through
the chat template, trained where the assistant speaks, its end-of-turn token included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding
from tokenizers.processors import ByteLevel

from bloomery.core.calls import spelled_out
from bloomery.core.errors import InputError, Where
from bloomery.core.files import canonical_hash
from bloomery.core.rows import Ids
from bloomery.core.template import END, START, ChatTemplate, Conversation, Rendering, TemplateFault
from bloomery.data.chat import Span, assistant_spans, conversation, learned
from bloomery.data.quoted import BREAK, Quotes
from bloomery.data.shapes import Example
from bloomery.data.turns import flat, plain
from bloomery.data.vocabulary import load_tokenizer, read_vocabulary
from bloomery.data.wordwise import word_encoder

VERSION = 4
"""Part of every token store's key: raise it when rendering changes."""

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Rendered:
    """Token ids int32[T], trained bool[T] (False at 0), and the bytes of UTF-8 text behind them.

    The first `desired` tokens are a row to learn from; those after them, where there are any, a second row, rejected.
    """

    ids: Ids
    trained: Mask
    text_bytes: int
    desired: int

    @classmethod
    def of(cls, ids: Ids, trained: Mask, text_bytes: int) -> Rendered:
        """A row to learn from, and no other."""
        return cls(ids, trained, text_bytes, len(ids))

    def before(self, rejected: Rendered) -> Rendered:
        """A pair: this row, then a rejected one."""
        ids, trained = np.concatenate([self.ids, rejected.ids]), np.concatenate([self.trained, rejected.trained])
        return Rendered(ids, trained, self.text_bytes + rejected.text_bytes, len(self.ids))


@dataclass(frozen=True, slots=True)
class Chat:
    """A rendered conversation: its text, the assistant's character spans, its row, whether an end token must be added.

    Special tokens that its messages quote are broken in the text (`quoted.py`).
    """

    text: str
    spans: list[Span]
    where: Where
    add_end: bool = False

    @property
    def quotes(self) -> bool:
        """Whether a message quotes a special token."""
        return BREAK in self.text


class Renderer:
    """Renders Examples with one tokenizer folder; can be built again in another process from `folder` and `template`.

    `template` replaces the folder's chat template. It is rendered in a process under limits of time and memory.
    """

    def __init__(self, folder: Path, template: str | None = None) -> None:
        """Raises `InputError` when the folder has no fast tokenizer or no end-of-sequence token."""
        self.folder, self.template = Path(folder), template
        self._tokenizer = load_tokenizer(self.folder)
        self.vocabulary = read_vocabulary(self.folder, self._tokenizer)
        source = template if template is not None else self.vocabulary.template
        self.fingerprint = canonical_hash([VERSION, self.vocabulary.sha256, source, self.vocabulary.special])
        self._template = ChatTemplate(source, self.vocabulary.special) if source else None
        # The post-processor is not used but for its offsets, which must not leave out white space.
        self._tokenizer.post_processor = ByteLevel(trim_offsets=False)
        self._quotes = Quotes(self._tokenizer)
        self._chat_words = word_encoder(self._tokenizer)
        # A document that quotes `<|endoftext|>` must not end itself: special tokens in text are plain characters.
        self._text_words = self._chat_words and self._chat_words.with_plain_special_tokens()

    def __reduce__(self) -> tuple[Any, ...]:
        return Renderer, (self.folder, self.template)

    def encode(self, example: Example) -> tuple[Ids, Mask]:
        """Ids int32[T] and trained bool[T] of one example. Raises `InputError` as `encode_batch` does."""
        rendered = self.encode_batch([example])[0]
        return rendered.ids, rendered.trained

    def encode_batch(self, examples: Sequence[Example]) -> list[Rendered]:
        """Render many examples; much faster than one by one, since the tokenizer then uses all cores.

        Raises `InputError` with file and row for a conversation without a chat template, one whose
        assistant spans cannot be found, and text that is not valid Unicode.
        """
        for example in examples:
            _check_characters(example)
        sides = [side for example in examples for side in _sides(example)]
        rendered = iter(self._encode(sides))
        return [_joined(example, [next(rendered) for _ in _sides(example)]) for example in examples]

    def plain_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text as a document has them, without what begins and ends one."""
        return self._text_ids(list(texts))

    def _encode(self, examples: Sequence[Example]) -> list[Rendered]:
        texts = [example.text for example in examples if example.text is not None]
        chats = self._chat_texts([example for example in examples if example.text is None])
        text_out, chat_out = iter(self._texts(texts)), iter(self._chats(chats))
        return [next(chat_out) if example.text is None else next(text_out) for example in examples]

    def _texts(self, texts: list[str]) -> list[Rendered]:
        before = [] if self.vocabulary.bos is None else [self.vocabulary.bos]
        rendered = []
        for text, ids in zip(texts, self._text_ids(texts), strict=True):
            row = np.array([*before, *ids, self.vocabulary.eos], np.int32)
            trained = np.ones(len(row), np.bool_)
            trained[0] = False
            rendered.append(Rendered.of(row, trained, len(text.encode())))
        return rendered

    def _text_ids(self, texts: list[str]) -> list[list[int]]:
        own = [self._text_words.encode(text) if self._text_words else None for text in texts]
        left = [text for text, ids in zip(texts, own, strict=True) if ids is None]
        self._tokenizer.encode_special_tokens = True
        library = iter(self._tokenizer.encode_batch_fast(left, add_special_tokens=False) if left else [])
        return [next(library).ids if ids is None else ids for ids in own]

    def _chats(self, chats: list[Chat]) -> list[Rendered]:
        own = [self._by_words(chat) for chat in chats]
        left = [chat.text for chat, tokens in zip(chats, own, strict=True) if tokens is None and not chat.quotes]
        self._tokenizer.encode_special_tokens = False
        library = iter(self._tokenizer.encode_batch(left, add_special_tokens=False) if left else [])
        rows = []
        for chat, tokens in zip(chats, own, strict=True):
            if tokens is None:
                encoding = self._quotes.encode(chat.text, chat.where) if chat.quotes else next(library)
                tokens = _by_offsets(chat, encoding)
            rows.append(self._finish(chat, *tokens))
        return rows

    def _by_words(self, chat: Chat) -> tuple[Ids, Mask] | None:
        """Ids and mask of a conversation word by word; None where a word reaches across the edge of a span."""
        found = self._chat_words.words(chat.text) if self._chat_words and not chat.quotes else None
        if found is None:
            return None
        words, ids = found
        edges = np.fromiter(accumulate(map(len, words), initial=0), np.int64, len(words) + 1)
        bounds = np.array([edge for span in chat.spans for edge in span], np.int64)
        if not np.isin(bounds, edges).all():
            return None
        inside = np.searchsorted(bounds, edges[:-1], side="right") % 2 == 1
        counts = np.fromiter(map(len, ids), np.int64, len(ids))
        return np.fromiter(chain.from_iterable(ids), np.int32, int(counts.sum())), np.repeat(inside, counts)

    def _finish(self, chat: Chat, ids: Ids, trained: Mask) -> Rendered:
        """Add the end token of plain pairs and the beginning that templates may leave out."""
        if chat.add_end:
            ids, trained = np.append(ids, np.int32(self.vocabulary.eos)), np.append(trained, True)
        bos = self.vocabulary.bos
        if bos is not None and (not len(ids) or ids[0] != bos):
            ids, trained = np.append(np.int32(bos), ids), np.append(False, trained)
        trained[:1] = False
        return Rendered.of(ids.astype(np.int32), trained, len(chat.text.replace(BREAK, "").encode()))

    def _chat_texts(self, examples: Sequence[Example]) -> list[Chat]:
        if self._template is None:
            return [self._plain_pair(example) for example in examples]
        told = [self._told(example) for example in examples]
        ends = self.vocabulary.ends
        chats = []
        for example, one, rendered in zip(examples, told, self._rendered(examples, told), strict=True):
            text, spans = assistant_spans(one, rendered, ends, example.where)
            before = example.prompt + len(one.messages) - len(example.messages)  # a preamble may stand before them
            chats.append(Chat(text, learned(one, spans, before, example.where), example.where))
        return chats

    def _told(self, example: Example) -> Conversation:
        """The conversation with what the template does not know, calls or tools, as text."""
        assert self._template is not None
        messages, tools = spelled_out(flat(example.messages), example.tools, self._template.source)
        return conversation(self._quotes.broken(messages), self._quotes.broken(tools))

    def _rendered(self, examples: Sequence[Example], told: list[Conversation]) -> list[Rendering]:
        assert self._template is not None
        try:
            return self._template(told) if told else []
        except TemplateFault as fault:
            fault.where = examples[0].where if len(examples) == 1 else Where(self.folder)
            raise

    def _plain_pair(self, example: Example) -> Chat:
        """Prompt and response as plain text, a line each: for models that know no chat template."""
        if not example.pair:
            raise InputError(
                "a conversation needs a chat template, and this tokenizer has none",
                where=example.where,
                fix="start from a checkpoint with a chat template, or give prompt/response rows",
            )
        told, _ = spelled_out(flat(example.messages), example.tools)
        *before, answer = (self._quotes.broken(str(message["content"])) for message in told)
        prompt = "\n".join(before) + "\n"
        return Chat(prompt + answer, [(len(prompt), len(prompt) + len(answer))], example.where, add_end=True)


def _sides(example: Example) -> list[Example]:
    """What of a row is rendered by itself: its conversation, as plain text where asked; two of a preference."""
    if example.as_text:
        return [replace(example, text=example.plain_text, messages=(), tools=())]
    if not example.rejected:
        return [example]
    left = replace(example, messages=example.rejected, rejected=())
    return [replace(example, rejected=()), left] if example.messages else [left]


def _joined(example: Example, sides: list[Rendered]) -> Rendered:
    if len(sides) == 2:
        return sides[0].before(sides[1])
    return replace(sides[0], desired=0) if example.rejected else sides[0]


def _by_offsets(chat: Chat, encoding: Encoding) -> tuple[Ids, Mask]:
    """Ids and mask from the library's offsets: a token belongs to the span its first character lies in."""
    starts = np.array([start for start, _ in encoding.offsets], np.int64)
    bounds = np.array([edge for span in chat.spans for edge in span], np.int64)
    return np.array(encoding.ids, np.int32), np.searchsorted(bounds, starts, side="right") % 2 == 1


def _check_characters(example: Example) -> None:
    for text in (plain(m["content"]) for m in example.spoken):
        if any(mark in text for mark in (START, END, BREAK)):
            raise InputError("holds a noncharacter (U+FDD0 to U+FDD2), which no text should", where=example.where)
