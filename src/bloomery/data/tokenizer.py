"""Trains a byte-level BPE tokenizer and writes it as an ordinary Hugging Face tokenizer folder.

Digits are single tokens, so that numbers of one length have one form and arithmetic can be learnt.
Equal texts in equal order give an equal file: no sampling, ties broken by the library in fixed order.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bloomery.core.errors import InputError
from bloomery.core.files import write_json, write_text

END_OF_TEXT, TURN_START, TURN_END, PAD = "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"
SPECIAL_TOKENS = (END_OF_TEXT, TURN_START, TURN_END, PAD)
"""Ids 0 to 3: a document ends with the first, a turn stands between the second and the third."""

PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""GPT-2's split with every digit alone; a word keeps the one space before it."""

CHAT_TEMPLATE = """\
{%- for message in messages %}
{%- set content = message.content if message.content is string else message.content | map(attribute='text') | join %}
{{- '<|im_start|>' + message.role + '\\n' }}
{%- if message.role == 'assistant' %}
{%- generation %}{{- content + '<|im_end|>' }}{%- endgeneration %}
{%- else %}
{{- content + '<|im_end|>' }}
{%- endif %}
{{- '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
"""ChatML; the `generation` block marks what is trained: the assistant's content and its end of turn."""

_BYTES = 256


def train_tokenizer(texts: Iterable[str], vocabulary: int = 4096, progress: bool = False) -> Any:
    """Train on `texts` and return a `tokenizers.Tokenizer` of exactly `vocabulary` entries, special tokens included.

    Any string survives encoding and decoding unchanged. With `progress` the library draws bars on standard error.
    Raises `InputError` when the vocabulary is too small for the bytes, or the texts are too few to fill it.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    if vocabulary < _BYTES + len(SPECIAL_TOKENS):
        raise InputError(f"a vocabulary of {vocabulary:,} has no room for the 256 bytes", fix="ask for 1024 or more")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        min_frequency=2,  # what occurs once says nothing about other text
        show_progress=progress,
    )
    tokenizer.train_from_iterator(texts, trainer=trainer)
    if tokenizer.get_vocab_size() != vocabulary:
        raise InputError(
            f"the text fills only {tokenizer.get_vocab_size():,} of {vocabulary:,} entries of the vocabulary",
            fix="give more text, or ask for a smaller vocabulary",
        )
    return tokenizer


def save_tokenizer(tokenizer: Any, folder: Path, context: int = 1024) -> None:
    """Write `tokenizer.json`, `tokenizer_config.json` and `chat_template.jinja`, which transformers loads.

    `context` is the longest row in tokens that the model is made for. Text ends with `<|endoftext|>`,
    a chat turn with `<|im_end|>`: generation must stop at either (`STOP_TOKENS`).
    """
    write_text(folder / "tokenizer.json", tokenizer.to_str(pretty=False) + "\n")
    write_text(folder / "chat_template.jinja", CHAT_TEMPLATE)
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END_OF_TEXT,
        "pad_token": PAD,
        "additional_special_tokens": [TURN_START, TURN_END],
        "model_max_length": context,
        "clean_up_tokenization_spaces": False,
    }
    write_json(folder / "tokenizer_config.json", config)


STOP_TOKENS = (END_OF_TEXT, TURN_END)
"""What `generation_config.eos_token_id` must hold the ids of."""
