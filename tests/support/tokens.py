"""Small tokenizer folders and data files for tests of data: byte-level BPE trained on a few sentences."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

SENTENCES = [
    "The quick brown fox jumps over the lazy dog, and then it sleeps.",
    "user assistant system question answer Hello, how are you? I'm fine; you're late.",
    "What is 12 + 30? It is 42.\nA second line\n\n  with spaces\tand tabs.",
    "Grüße aus Köln, naïve café, 你好世界, здравствуй мир.",
] * 4

MARKED = (
    "{%- for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' %}{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}"
    "{% else %}{{ m.content }}<|im_end|>{% endif %}\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
UNMARKED = MARKED.replace("{% generation %}", "").replace("{% endgeneration %}", "")
THINKING = (
    "{%- for m in messages %}{{- '<|im_start|>' + m.role + '\n' }}"
    "{%- if m.role == 'assistant' and loop.last %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}"
    "{{- m.content.strip() + '<|im_end|>\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def toy_tokenizer(pattern: str | None = None, vocabulary: int = 420, byte_level: bool = True) -> Tokenizer:
    """A BPE tokenizer of about `vocabulary` tokens; `pattern` None is GPT-2's, `byte_level` False is Metaspace."""
    tokenizer = Tokenizer(models.BPE())
    if not byte_level:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        tokenizer.decoder = decoders.Metaspace()
    elif pattern:
        split = pre_tokenizers.Split(Regex(pattern), "isolated")
        byte = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte])
        tokenizer.decoder = decoders.ByteLevel()
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
        tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet() if byte_level else []
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<s>"]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.add_tokens([AddedToken("<tool>", special=False)])
    return tokenizer


def tokenizer_folder(
    folder: Path, template: str | None = MARKED, bos: bool = False, tokenizer: Tokenizer | None = None, **config: Any
) -> Path:
    """Write a tokenizer folder as `save_pretrained` would."""
    folder.mkdir(parents=True, exist_ok=True)
    (tokenizer or toy_tokenizer()).save(str(folder / "tokenizer.json"))
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>"}
    about |= {"bos_token": "<s>", "add_bos_token": True} if bos else {}
    (folder / "tokenizer_config.json").write_text(json.dumps(about | config))
    if template is not None:
        (folder / "chat_template.jinja").write_text(template)
    return folder


def jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    """Write rows as JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def texts(count: int, words: int = 30) -> list[dict[str, Any]]:
    """Text rows that differ from each other."""
    vocabulary = " ".join(SENTENCES[:4]).split()
    line = [[vocabulary[(i * 7 + j * (i % 5 + 1)) % len(vocabulary)] for j in range(words)] for i in range(count)]
    return [{"id": f"t{i}", "text": f"Document {i}: {' '.join(words)}"} for i, words in enumerate(line)]


def pairs(count: int) -> list[dict[str, Any]]:
    """Prompt and response rows."""
    return [{"id": f"p{i}", "prompt": f"What is {i} + 1?", "response": f"It is {i + 1}."} for i in range(count)]


@dataclass(frozen=True)
class Lengths:
    """What a blend needs of a table: the tokens of each row."""

    lengths: npt.NDArray[np.int64]
    groups: npt.NDArray[np.uint64] | None = None

    @classmethod
    def of(cls, *lengths: int) -> Lengths:
        return cls(np.array(lengths, np.int64))
