"""Examples to token ids and the mask of trained tokens.

Text: `[bos] ids eos`, every token trained but the first (nothing predicts it). Conversations: through
the chat template, trained where the assistant speaks, its end-of-turn token included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer

from bloomery.core.errors import InputError
from bloomery.core.files import canonical_hash
from bloomery.core.rows import Ids
from bloomery.data.chat import ChatTemplate, RenderChat, Span, assistant_spans
from bloomery.data.shapes import Example, plain
from bloomery.data.vocabulary import load_tokenizer, read_vocabulary

VERSION = 1
"""Part of every token store's key: raise it when rendering changes."""

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Rendered:
    """Token ids int32[T], trained bool[T] (False at 0), and the bytes of UTF-8 text behind them."""

    ids: Ids
    trained: Mask
    text_bytes: int


class Renderer:
    """Renders Examples with one tokenizer folder; can be built again in another process from `folder` and `template`.

    `template` replaces the folder's chat template; `render_chat` replaces rendering altogether (such
    as a renderer with time and memory limits), and keeps all work in this process.
    """

    def __init__(self, folder: Path, template: str | None = None, render_chat: RenderChat | None = None) -> None:
        """Raises `InputError` when the folder has no fast tokenizer or no end-of-sequence token."""
        self.folder, self.template = Path(folder), template
        self.vocabulary = read_vocabulary(self.folder)
        source = template if template is not None else self.vocabulary.template
        self.portable = render_chat is None
        self.fingerprint = canonical_hash([VERSION, self.vocabulary.sha256, source, self.vocabulary.special])
        self._chat = render_chat or (ChatTemplate(source, self.vocabulary.special) if source else None)
        self._for_chat = load_tokenizer(self.folder)
        self._for_text = load_tokenizer(self.folder)
        # A document that quotes `<|endoftext|>` must not end itself: special tokens in text are plain characters.
        self._for_text.encode_special_tokens = True

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
            _check_unicode(example)
        texts = [e.text for e in examples if e.text is not None]
        chats = [self._chat_text(e) for e in examples if e.text is None]
        text_out = iter(_encode(self._for_text, texts, fast=True))
        chat_out = iter(zip(chats, _encode(self._for_chat, [text for text, _, _ in chats], fast=False), strict=True))
        return [
            self._from_text(e.text, next(text_out)) if e.text is not None else self._from_chat(*next(chat_out))
            for e in examples
        ]

    def _from_text(self, text: str, encoding: Encoding) -> Rendered:
        bos = [] if self.vocabulary.bos is None else [self.vocabulary.bos]
        ids = np.array([*bos, *encoding.ids, self.vocabulary.eos], np.int32)
        trained = np.ones(len(ids), np.bool_)
        trained[0] = False
        return Rendered(ids, trained, len(text.encode()))

    def _chat_text(self, example: Example) -> tuple[str, list[Span], bool]:
        """Text to tokenize, the assistant's character spans, and whether an end token must be added."""
        if self._chat is None:
            return self._plain_text(example)
        flat = [message | {"content": plain(message["content"])} for message in example.messages]
        try:
            text, spans = assistant_spans(self._chat, flat, example.tools, self.vocabulary.ends, example.where)
        except InputError as error:
            raise InputError(error.message, where=example.where, fix=error.fix) from None
        return text, spans, False

    def _plain_text(self, example: Example) -> tuple[str, list[Span], bool]:
        if not example.pair:
            raise InputError(
                "a conversation needs a chat template, and this tokenizer has none",
                where=example.where,
                fix="start from a checkpoint with a chat template, or give prompt/response rows",
            )
        *before, answer = (plain(message["content"]) for message in example.messages)
        prompt = "\n".join(before) + "\n"
        return prompt + answer, [(len(prompt), len(prompt) + len(answer))], True

    def _from_chat(self, chat: tuple[str, list[Span], bool], encoding: Encoding) -> Rendered:
        text, spans, add_end = chat
        ids = np.array(encoding.ids + [self.vocabulary.eos] * add_end, np.int32)
        starts = np.array([start for start, _ in encoding.offsets], np.int64)
        bounds = np.array([edge for span in spans for edge in span], np.int64)
        trained = np.zeros(len(ids), np.bool_)
        # A token belongs to the span its first character lies in; bounds alternate start, end.
        trained[: len(starts)] = np.searchsorted(bounds, starts, side="right") % 2 == 1
        trained[len(starts) :] = True
        if self.vocabulary.bos is not None and (not len(ids) or ids[0] != self.vocabulary.bos):
            ids, trained = np.insert(ids, 0, self.vocabulary.bos).astype(np.int32), np.insert(trained, 0, False)
        trained[:1] = False
        return Rendered(ids, trained, len(text.encode()))


def _encode(tokenizer: Tokenizer, texts: list[str], fast: bool) -> list[Encoding]:
    encode = tokenizer.encode_batch_fast if fast else tokenizer.encode_batch
    encodings: list[Encoding] = encode(texts, add_special_tokens=False) if texts else []
    return encodings


def _check_unicode(example: Example) -> None:
    for text in (example.text,) if example.text is not None else (plain(m["content"]) for m in example.messages):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"holds half of a surrogate pair (U+{ord(text[error.start]):04X}), which is no text",
                where=example.where,
                fix="write the character itself, or both halves",
            ) from None
