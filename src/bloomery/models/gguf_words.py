"""A tokenizer as GGUF holds it: byte-level BPE tokens, merges, and the name under which llama.cpp splits text.

llama.cpp knows a fixed list of ways to split text before the merges. Which one a tokenizer has is found by trying:
each of them, with the tokenizer's own tokens and merges, against the tokenizer itself on text that tells them apart.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers

from bloomery.core.errors import InputError
from bloomery.models.gguf_layout import OTHERWISE

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
_ENDINGS = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA3 = _ENDINGS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + _REST
_QWEN2 = _ENDINGS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + _REST


@dataclass(frozen=True, slots=True)
class Split:
    """One of llama.cpp's ways: its name, its expressions one after the other, and whether whole words skip merges."""

    name: str
    expressions: tuple[str, ...]
    ignore_merges: bool = False


SPLITS = (
    Split("gpt-2", (_GPT2,)),
    Split("smollm", (r"\p{N}", _GPT2)),
    Split("llama-bpe", (_LLAMA3,), ignore_merges=True),
    Split("dbrx", (_LLAMA3,)),
    Split("qwen2", (_QWEN2,)),
)
"""From llama.cpp's `llama-vocab.cpp`; those that the families here need."""

PROBES = (
    "The forge's bellows weren't DON'T they'LL I'M quiet; 3 men, 12 axes, 1234567 nails at 98.6 degrees.\n",
    "def f(x):\n    return {'a': [1, 22, 333], \"b\": x**2}  # comment\n\n\n\tend   \n",
    "Table:\n|  id |   value |\n|   7 |  10023 |\r\n    5 apples\n\n   \n42  43",
    "Ärger über Öl, ça va à 20 €; Привет, мир 2024! こんにちは世界。東京は３０度 🙂🔥 résumé naïve ½ ²",
    "https://example.org/a?b=1&c=%20 user@host.org C:\\dir\\file.txt $5.00 #tag @name ... --- === <|x|> </s>",
    " leading space and\ttabs\u00a0no-break\u200bzero \u2014 dash\u2026 ellipsis 'quoted' “curly” it’s",
)
"""Short texts on which the ways of splitting differ: case, digits, runs of spaces and line ends, scripts, symbols."""

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5
"""Kinds of token, as llama.cpp numbers them."""


@dataclass(frozen=True, slots=True)
class Words:
    """What a file says of its tokenizer: each token's text and kind, merges, the split, and special ids."""

    tokens: tuple[str, ...]
    kinds: tuple[int, ...]
    merges: tuple[str, ...]
    split: Split
    special: dict[str, int]
    starts: bool
    """Whether every text begins with the start token."""
    template: str = ""
    normalised: bool = False
    """Whether the tokenizer first composes characters (NFC), which llama.cpp does not."""


def words_of(tokenizer: Any, vocab_size: int, texts: Sequence[str] = ()) -> Words:
    """The tokenizer in GGUF's terms, proven on `PROBES` and `texts`.

    Raises `InputError` for one that is no byte-level BPE, or that no split of llama.cpp reproduces.
    """
    described = json.loads(tokenizer.backend_tokenizer.to_str()) if hasattr(tokenizer, "backend_tokenizer") else {}
    model = described.get("model") or {}
    if model.get("type") != "BPE" or model.get("byte_fallback") or not _byte_level(described):
        kind = model.get("type") or type(tokenizer).__name__
        raise InputError(f"this {kind} tokenizer is no byte-level BPE, which alone is exported as GGUF", fix=OTHERWISE)
    added = described.get("added_tokens", [])
    if spaced := next((t["content"] for t in added if t["lstrip"] or t["rstrip"] or t["single_word"]), None):
        raise InputError(f"llama.cpp does not take the spaces around `{spaced}` with it", fix=OTHERWISE)
    tokens, kinds = _tokens(model["vocab"], added, vocab_size)
    merges = tuple(" ".join(m) if isinstance(m, list) else m for m in model["merges"])
    split = find_split(tokenizer, model["vocab"], merges, added, (*PROBES, *texts))
    starts = _starts(tokenizer)
    return Words(tokens, kinds, merges, split, _special(tokenizer), starts, _template(tokenizer), _composes(described))


def find_split(
    tokenizer: Any, vocab: dict[str, int], merges: Sequence[str], added: Sequence[dict[str, Any]], texts: Sequence[str]
) -> Split:
    """The first of `SPLITS` under which all texts give the tokenizer's own ids; else `InputError` with where they part.

    Every token's own text is tried too: a token that no merges make is one token only where whole words skip merges.
    """
    decoded = tokenizer.backend_tokenizer.decode_batch([[i] for i in sorted(vocab.values())], skip_special_tokens=False)
    texts = [*texts, *(text for text in decoded if text and "\ufffd" not in text)]
    wanted = [e.ids for e in tokenizer.backend_tokenizer.encode_batch(texts, add_special_tokens=False)]
    best: tuple[int, str, str] = (-1, "", "")
    for split in SPLITS:
        ours = build(vocab, merges, added, split)
        found = [e.ids for e in ours.encode_batch(texts, add_special_tokens=False)]
        wrong = [text for text, one, other in zip(texts, wanted, found, strict=True) if one != other]
        if not wrong:
            return split
        if len(texts) - len(wrong) > best[0]:
            best = (len(texts) - len(wrong), split.name, _parting(ours, tokenizer.backend_tokenizer, wrong[0]))
    raise InputError(
        f"llama.cpp has no way to split text as this tokenizer does; the nearest, `{best[1]}`, parts at {best[2]!r}",
        fix=OTHERWISE,
    )


def build(vocab: dict[str, int], merges: Sequence[str], added: Sequence[dict[str, Any]], split: Split) -> Tokenizer:
    """A tokenizer as llama.cpp makes it from a file's tokens, merges and split."""
    pairs = [(one, other) for one, _, other in (merge.partition(" ") for merge in merges)]
    made = Tokenizer(models.BPE(vocab=vocab, merges=pairs, ignore_merges=split.ignore_merges))
    parts = [pre_tokenizers.Split(Regex(expression), "isolated") for expression in split.expressions]
    made.pre_tokenizer = pre_tokenizers.Sequence([*parts, pre_tokenizers.ByteLevel(False, use_regex=False)])
    for token in added:
        one = AddedToken(token["content"], normalized=False, special=token["special"])
        (made.add_special_tokens if token["special"] else made.add_tokens)([one])
    return made


def _parting(ours: Tokenizer, theirs: Any, text: str) -> str:
    """The text around the first token in which two tokenizers differ."""
    one, other = (t.encode(text, add_special_tokens=False) for t in (ours, theirs))
    pairs = enumerate(zip(one.ids, other.ids, strict=False))
    at = next((i for i, (a, b) in pairs if a != b), min(len(one.ids), len(other.ids)) - 1)
    start = other.offsets[at][0]
    return text[max(0, start - 4) : start + 8]


def _byte_level(described: dict[str, Any]) -> bool:
    return "ByteLevel" in json.dumps(described.get("pre_tokenizer")) and _normalisers(described) <= {"NFC"}


def _normalisers(described: dict[str, Any]) -> set[str]:
    found = described.get("normalizer")
    parts = found.get("normalizers", [found]) if found else []
    return {str(part["type"]) for part in parts}


def _composes(described: dict[str, Any]) -> bool:
    return bool(_normalisers(described))


def _tokens(
    vocab: dict[str, int], added: Sequence[dict[str, Any]], size: int
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Text and kind of every id; ids of the embedding that no token has are named as unused."""
    texts = {id_: text for text, id_ in vocab.items()}
    kinds = dict.fromkeys(texts, NORMAL)
    for token in added:
        texts[token["id"]] = token["content"]
        kinds[token["id"]] = CONTROL if token["special"] else USER_DEFINED
    if texts and max(texts) >= size:
        raise InputError(f"the tokenizer has ids up to {max(texts):,}, the model {size:,} embeddings")
    gaps: Iterator[int] = (i for i in range(size) if i not in texts)
    for i in gaps:
        texts[i], kinds[i] = f"[PAD{i}]", UNUSED
    return tuple(texts[i] for i in range(size)), tuple(kinds[i] for i in range(size))


def _special(tokenizer: Any) -> dict[str, int]:
    names = {"bos": "bos_token_id", "eos": "eos_token_id", "unknown": "unk_token_id", "padding": "pad_token_id"}
    found = {name: getattr(tokenizer, key, None) for name, key in names.items()}
    return {name: int(id_) for name, id_ in found.items() if id_ is not None}


def _starts(tokenizer: Any) -> bool:
    """Whether an encoded text begins with the start token; anything else around a text is refused."""
    plain, full = (list(tokenizer("forge", add_special_tokens=on)["input_ids"]) for on in (False, True))
    if full == plain:
        return False
    if full == [tokenizer.bos_token_id, *plain]:
        return True
    raise InputError("the tokenizer puts more around a text than a start token, which is not exported as GGUF")


def _template(tokenizer: Any) -> str:
    found = getattr(tokenizer, "chat_template", None)
    return found if isinstance(found, str) else ""
